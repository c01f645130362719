"""Big files through the local twin, while the workers are killed: `python -m tests.soak --help`, `make soak`.

files      the file that is dropped; any row of it can be told again from its number
workers    Lambda's processes on the twin: found, watched, killed
run        drop, watch, kill, sweep, until the import has ended
counting   afterwards: is every row exactly where it belongs?
"""
