"""The ports of `executions`, on AWS. Together with `sinks` the only rooms that know botocore."""
