"""What is asked and answered, and stored nowhere: reviews of tokens and rights, and tokens themselves.

They are posted like objects that are to be created; what comes back is what was sent, with an answer in its status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from apimachinery.errors import bad_request
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.rest.call import Call

# What was sent, checked against the schema of its kind and private, to what is answered. Raises ApiError.
Answer = Callable[[Call, Object], Awaitable[Object]]


@dataclass(frozen=True, slots=True)
class Question:
    """One kind of question: what is sent, and who answers."""

    kind: Resource
    answer: Answer


# By (group, plural, subresource) of what it is posted to.
Questions = Mapping[tuple[str, str, str], Question]


def place(call: Call, sent: Object) -> None:
    """Give a question the namespace and, if it is about an object, the name of the URL. Raises ApiError 400."""
    metadata = sent.setdefault("metadata", {})
    for field, value in (("namespace", call.namespace), ("name", call.name)):
        said = metadata.get(field)
        if said and value and said != value:
            raise bad_request(f"the {field} of the provided object does not match the {field} sent on the request")
        if value:
            metadata[field] = value
