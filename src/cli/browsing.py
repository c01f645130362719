"""`importer console`: where the console is, opened in a browser."""

import webbrowser

import click

from cli import show
from cli.connection import connected
from cli.verbs import DONE, Trouble, json_option, stack_option
from importer.doors.console import PATH


@click.command()
@click.option("--no-open", is_flag=True, help="Print the address only.")
@stack_option
@json_option
@click.pass_context
def console(ctx: click.Context, no_open: bool, stack_name: str | None, as_json: bool) -> None:
    """Open the console: send files, watch imports, get refused rows, cancel, redrive and undo, in a browser.

    It asks for a token of the HTTP door once (`importer token create`), which stays in its tab. The local twin's own is
    given along, in the address behind the #, which is sent to nobody.

    The address is printed, too, for where there is no browser. --json opens none.

    \b
    Examples:
      importer console
      importer console --stack s3-event-importer
      importer console --no-open
    """
    connection = connected(stack_name)
    stack = connection.stack
    if stack.api_url is None:
        again = "`make down`, then `make up`" if stack.endpoint_url else "deploy this version"
        raise Trouble(f"{connection.name} has no HTTP door, which serves the console: {again}")
    url = f"{stack.api_url.rstrip('/')}{PATH}"
    # The token of a twin is good on this machine alone. Where somebody deployed, none is kept to be given along.
    address = f"{url}#token={stack.api_token}" if stack.endpoint_url and stack.api_token else url
    if as_json:
        click.echo(show.to_json({"url": address}))
        ctx.exit(DONE)
    click.echo(address)
    if not no_open and not webbrowser.open(address):
        show.paragraph(show.console(stderr=True), "There is no browser here: open the address in one.", indent=0)
    if address == url:
        hint = (
            f"It asks for a token: `importer token create NAME{connection.command} --read '*' --write '*'` makes one."
        )
        show.paragraph(show.console(stderr=True), hint, indent=0)
    ctx.exit(DONE)
