"""S3 Event Importer: files of events from a bucket into a store, every row in the store once or in errors/ once.

The rooms, in the order a file walks through them:

    1  notification   what S3 says was dropped, however wrapped      → objects
    2  parts          an object                                      → parts, on a byte grid
    2½ compression    gzip and zstd, by content                      → plain bytes
    3  lines          bytes                                          → lines with addresses
    4  layouts        how rows stand in a file: rows (JSON lines; 4½ exact_json judges the doubtful ones,
                      4¾ plain_rows reads those like the ones before by a pattern) or csv_rows
       fields         checked readers of one field; row_paths: where in a row a value stands
    5  formats/       a row                                          → events and user changes, one file per vendor
       users          what is known of a person                      → records that may come in any order
       recognition    the first bytes of a file                      → its dialect
    6  batches        lines                                          → batches: the pure core
    7  sinks/         a batch                                        → durable, in DynamoDB, on Firehose, or both;
                                                                       erasing keeps out who was erased
    8  bad_rows       why a row is refused, and where refused rows wait
       receipts       tallies                                        → the receipt; diagnosis: what most bad rows share
    9  executions/    start · advance · settle · sweep: the only room with effects, and their order; replaying begins an
                      archived file's next reading
    10 ledger/        what was left behind                           → counted once more: verify; one row of it: why;
                                                                       read under other settings: replaying; a person:
                                                                       forgotten; what it wrote: taken out again, undo
    11 doors/         a request, or a URI                            → a file below imports/, and its execution
                      an execution that has ended                    → told: notices say what, telling sees that it is
                      an alarm                                       → explained: alarms reads it, explaining looks up
                                                                       what it is about, explanations says it

Other ways in are `doors/`: recurring, dropped_previews; for people, console (a page: console.html, .css, .js) and what
it asks: every_execution, asked_previews. What did not come in is missed by `doors/expecting`, from `series` (files that
are one thing) and `rhythm` (when the next are due). `doors/letters` reads what became a dead letter.

Beside the path: `model` (the nouns), `definitions` (settings of an import), `documents` (an execution as the world
sees it), `preview` (what an import would do), `known` (beside what names a store holds), `preview_page` (its page)
and `forecast` (what it would cost), `repairs` (what can be done about a refused row), `costs` (units and dollars) by
`prices` (the one table of them), `words` (numbers and values as people read them), `masking` (rows without what they
hold), `fetches` (nouns of import by URI), `sha256` (a hash that can be put down and taken up), `telemetry` (metrics
and log keys), `aws/` (S3, DynamoDB and SQS behind the ports `executions` declares, and the sinks' quick way to AWS
behind that of `sinks/quick`), `assembly` (those ports filled).
`app.py`, next to this package, has the Lambda entry points.

Imports point one way: app, cli → assembly → doors, ledger → executions → sinks, aws, batches → layouts, formats → rows,
csv_rows, lines, parts → fields, bad_rows, definitions → model. tests/house/test_imports.py keeps it so.
"""
