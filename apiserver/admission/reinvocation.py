"""What comes from outside may change an object after others had looked at it; some of these want to look again.

Whoever wants that is asked once more if the object has changed since: by others of the same plugin, or by any plugin
before it in the second round. Nobody is asked for the first time in the second round.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#reinvocation-policy
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from apimachinery.meta import Object
from apiserver.admission.plugin import Attributes


@dataclass(slots=True)
class Reinvocation:
    """What one plugin knows of a request: who has been asked and would look again, and who must."""

    attributes: Attributes
    asked: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    # The object as the plugin has left it, encoded.
    left: bytes = b""

    def begin(self) -> None:
        """A round of the plugin begins."""
        if self.attributes.round and self.left != _encoded(self.attributes.obj):
            self._look_again()

    def skips(self, key: str) -> bool:
        """Whether somebody is not asked in this round."""
        return bool(self.attributes.round) and key not in self.again

    def was_asked(self, key: str, *, changed: bool, wants_again: bool) -> None:
        """Somebody was asked; `changed`: the object is another now."""
        if changed:
            self._look_again()
            self.attributes.again = True
        if wants_again:
            self.asked.add(key)

    def end(self) -> None:
        """The round of the plugin is over."""
        self.left = _encoded(self.attributes.obj)

    def _look_again(self) -> None:
        self.again |= self.asked
        self.asked.clear()


def reinvocation_of(attributes: Attributes, plugin: str) -> Reinvocation:
    """What a plugin knows of a request, in its first round nothing."""
    if attributes.notes is None:
        attributes.notes = {}
    found = attributes.notes.get(plugin)
    if found is None:
        found = attributes.notes[plugin] = Reinvocation(attributes)
    known: Reinvocation = found
    return known


def _encoded(obj: Object | None) -> bytes:
    return orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)
