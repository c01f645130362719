"""What runs on a person's machine and is never deployed.

main.py        the `importer` command: parses, prints, answers with an exit code; import, executions
previewing.py  preview
converting.py  convert: a file's rows in another dialect
recount.py     verify
people.py      user, segment: what is known of a person
standing.py    status
ringing.py     alarms: those that ring, each explained
definitions.py imports: definitions created, listed, shown, changed, deleted
stopping.py    cancel, redrive; with dead_letters.py
verbs.py       what all verbs have in common: options, exit codes, how trouble is told
lookup.py      which execution is meant by a key or an id
workplace.py   an installation as `executions` works with it, for cancel and redrive
importing.py   one file on its way: upload, follow by its execution, outcome
dropping.py    several files at once
show.py        everything a person sees
connection.py  which deployment is meant: the twin, or a stack
stack.py       what a deployed stack is called: its bucket, tables, queues and functions
twin.py        the local twin: an embedded AWS with the project really deployed into it
demo.py        `make demo`: the whole way of a file in a twin of its own
"""
