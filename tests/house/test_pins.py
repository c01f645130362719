"""What is installed, here and in the package, is what somebody looked at: pinned, by hash."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASKED = sorted([*ROOT.glob("requirements-*.in"), ROOT / "src/handler/requirements.in"])
PINNED = sorted([*ROOT.glob("requirements*.txt"), *(ROOT / "src").rglob("requirements*.txt")])
MAKEFILES = [ROOT / "Makefile", ROOT / "src/handler/Makefile"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(path: Path) -> dict[str, str]:
    """Each pinned distribution → what stands behind its name."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = [line.split("#")[0].strip() for line in lines]
    return {canonical(re.split(r"[=<>~;\[ ]", line)[0]): line for line in found if line}


def test_every_list_of_wishes_has_its_pins():
    """`make requirements` writes them, all of them."""
    assert [path.with_suffix(".txt") for path in ASKED] == PINNED
    named = re.search(r"^PINS := (.*)$", MAKEFILES[0].read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert named
    kinds = [path.stem.removeprefix("requirements-") for path in ASKED if path.stem != "requirements"]
    assert re.findall(r"requirements-,([a-z ]+)\)", named[1]) == [" ".join(kinds)]


@pytest.mark.parametrize("path", PINNED, ids=name_of)
def test_every_distribution_is_pinned_by_hash(path: Path):
    """One version, and SHA-256 of all its files; no host is named, nothing comes from a link or a folder."""
    found = entries(path)
    assert found
    wrong = [name for name, line in found.items() if not re.search(r"==[^ ;]+.* --hash=sha256:[0-9a-f]{64}", line)]
    assert wrong == []
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"https?://|file:|git\+|--(?:extra-)?index-url|--find-links|--trusted-host", text) == []


@pytest.mark.parametrize("path", ASKED, ids=name_of)
def test_every_wish_is_pinned(path: Path):
    """A name that was added and not pinned would be installed from nowhere."""
    wishes = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {canonical(wish) for wish in wishes} <= set(entries(path.with_suffix(".txt")))


def test_nothing_is_installed_without_its_hash():
    """Every line that installs asks for hashes, but for this project itself, which is a link to the sources."""
    text = "\n".join(path.read_text(encoding="utf-8").replace("\\\n", " ") for path in MAKEFILES)
    installs = [line.strip() for line in text.splitlines() if re.search(r"pip\b.*\binstall\b", line)]
    assert len(installs) >= 6
    careless = [line for line in installs if "--require-hashes" not in line and "$(INSTALL)" not in line]
    assert [line for line in careless if "--editable ." not in line] == []
    assert "INSTALL := " in text
    assert "--require-hashes" in text.partition("INSTALL := ")[2].partition("\n")[0]
