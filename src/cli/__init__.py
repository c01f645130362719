"""What runs on a person's machine and is never deployed.

stack.py   what a deployed stack is called: its bucket, tables, queues and functions
twin.py    the local twin: an embedded AWS with the project really deployed into it
"""
