"""As typical.py, and the `{u}` properties of a row as one update of the user's item."""

import json
import os
import sys
from decimal import Decimal

import boto3
from checks import begun, is_event, refuse, told


def main() -> None:
    begun()
    good = bad = 0
    body = boto3.client("s3").get_object(Bucket=os.environ["BUCKET_NAME"], Key=sys.argv[1])["Body"]
    dynamodb = boto3.resource("dynamodb")
    table, users = dynamodb.Table(os.environ["PLAIN_TABLE"]), dynamodb.Table(os.environ["USERS_TABLE"])
    with table.batch_writer() as writer:
        for line in body.iter_lines():
            try:
                row = json.loads(line, parse_float=Decimal, parse_constant=refuse)
            except ValueError:
                bad += 1
                continue
            if not is_event(row):
                bad += 1
                continue
            of_user = {name[3:]: row.pop(name) for name in list(row) if name.startswith("{u}")}
            writer.put_item(Item=row)
            users.update_item(
                Key={"user_id": row["user_id"]},
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in of_user),
                ExpressionAttributeNames={f"#{name}": name for name in of_user},
                ExpressionAttributeValues={f":{name}": value for name, value in of_user.items()},
            )
            good += 1
    told(good, bad)


main()
