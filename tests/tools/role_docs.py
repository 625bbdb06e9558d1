"""`make docs`: write each role's variables, as its argument specs describe them, into its README."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- variables:begin -->\n", "<!-- variables:end -->"


def table(specs: dict[str, Any]) -> str:
    """One Markdown table for each entry point that takes variables."""
    parts = []
    for entry_point, spec in specs.items():
        options = spec.get("options") or {}
        if not options:
            continue
        if entry_point != "main":
            parts.append(f"\nEntry point `{entry_point}`: {spec['short_description'].rstrip('.')}.\n")
            if options == specs.get("main", {}).get("options"):
                parts.append("It takes the same variables.\n")
                continue
            parts.append("\n")
        parts.append("| variable | type | default | meaning |\n| --- | --- | --- | --- |\n")
        parts += [row(name, option) for name, option in options.items()]
    return "".join(parts)


def row(name: str, option: dict[str, Any]) -> str:
    kind = option.get("type", "str")
    if kind == "list" and "elements" in option:
        kind = f"list of {option['elements']}"
    default = "required" if option.get("required") else code(option.get("default"))
    description = option["description"]
    text = " ".join(description) if isinstance(description, list) else description
    if "choices" in option:
        text += f" One of {', '.join(code(choice) for choice in option['choices'])}."
    return f"| `{name}` | {kind} | {default} | {markdown(text)} |\n"


def code(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{escape(text)}`" if text else '`""`'


def markdown(text: str) -> str:
    """Ansible's own markup becomes Markdown's; a table's row is one line."""
    text = re.sub(r"\b[CVOIBM]\(([^()]*(?:\([^()]*\)[^()]*)*)\)", r"`\1`", text)
    return escape(" ".join(text.split()))


def escape(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a README is not up to date, and change nothing")
    check = parser.parse_args().check
    stale = []
    for readme in sorted(CHECKOUT.glob("roles/*/README.md")):
        specs = yaml.safe_load((readme.parent / "meta" / "argument_specs.yml").read_text())["argument_specs"]
        text = readme.read_text()
        if BEGIN not in text or END not in text:
            sys.exit(f"{readme}: the lines {BEGIN.strip()} and {END} are missing")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        filled = f"{before}{BEGIN}{table(specs)}{END}{after}"
        if filled != text:
            stale.append(str(readme.relative_to(CHECKOUT)))
            if not check:
                readme.write_text(filled)
    if check and stale:
        sys.exit(f"not up to date, run make docs: {', '.join(stale)}")


if __name__ == "__main__":
    main()
