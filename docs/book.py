"""Completes the book: a preprocessor of mdBook (book.toml).

Adds the pages outside of docs/ and a page for each decision record, as decisions/README.md lists
them, and changes the links so that they lead to pages of the book. A link to another file of the
project becomes text. Needs Python 3.9 or later and no packages.
"""

import json
import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Pages outside of docs/: the file, its path in the book, and its name.
PROJECT = [
    ("README.md", "PROJECT.md", "Holdfast"),
    ("ARCHITECTURE.md", "ARCHITECTURE.md", "Architecture"),
    ("migrations/README.md", "MIGRATIONS.md", "Migrations"),
    ("SECURITY.md", "SECURITY.md", "Security"),
    ("CONTRIBUTING.md", "CONTRIBUTING.md", "Contributing"),
    ("CHANGELOG.md", "CHANGELOG.md", "Changelog"),
]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
RECORD = re.compile(r"^\| \[(\d{4})\]\((\d{4}-[\w-]+\.md)\) \| (.+?) \|", re.MULTILINE)


def book_path(file):
    """Returns the path in the book of a file of the project, or None if it is no part of it."""
    for source, path, _ in PROJECT:
        if file == source:
            return path
    if not file.startswith("docs/") or not (ROOT / file).is_file():
        return None
    path = file.removeprefix("docs/")
    # As mdBook names it.
    return posixpath.join(posixpath.dirname(path), "index.md") if path.endswith("README.md") else path


def with_links(text, file):
    """Changes the links of a page; `file` is its path in the project."""

    def link(found):
        mark, words, target = found.groups()
        path, hash_sign, anchor = target.partition("#")
        if not path or ":" in path:
            return found[0]
        source = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
        source += "/README.md" if (ROOT / source).is_dir() else ""
        to = book_path(source)
        if to is None:
            return words
        to = posixpath.relpath(to, posixpath.dirname(book_path(file)) or ".")
        return f"{mark}[{words}]({to}{hash_sign}{anchor})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def chapter(name, file, number=None, parents=()):
    path = book_path(file)
    content = with_links((ROOT / file).read_text(encoding="utf-8"), file)
    return {
        "Chapter": {
            "name": name,
            "content": content,
            "number": number,
            "sub_items": [],
            "path": path,
            "source_path": path,
            "parent_names": list(parents),
        }
    }


def complete(item):
    """Changes the links of a page of docs/, and adds the decision records to their index."""
    page = item.get("Chapter") if isinstance(item, dict) else None
    if page is None:
        return
    text = page["content"]
    page["content"] = with_links(text, f"docs/{page['source_path']}")
    if page["source_path"] == "decisions/README.md":
        for index, (record, file, title) in enumerate(RECORD.findall(text), start=1):
            name = f"{record} {title.replace('`', '')}"
            # Only numbered chapters are nested.
            number = [*page["number"], index]
            part = chapter(name, f"docs/decisions/{file}", number, [page["name"]])
            page["sub_items"].append(part)


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    # mdBook 0.4 names them sections.
    items = book["items" if "items" in book else "sections"]
    for item in items:
        complete(item)
    first, *others = PROJECT
    items.insert(1, chapter(first[2], first[0]))
    items.append({"PartTitle": "Project"})
    items.extend(chapter(name, file) for file, _, name in others)
    json.dump(book, sys.stdout)


main()
