"""The one error that reading a model may raise: what is wrong, and what to do about it."""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be read: ``code`` is for programs, the text for people, ``transient`` for those who may retry."""

    def __init__(self, code: str, message: str, remedy: str = "", transient: bool = False) -> None:
        """Keep the parts; the text of the error is the message and then the remedy."""
        super().__init__(f"{message}. {remedy}".strip() if remedy else f"{message}.")
        self.code = code
        self.message = message
        self.remedy = remedy
        self.transient = transient
