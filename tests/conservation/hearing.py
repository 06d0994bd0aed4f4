"""What the agent could hear of every document, and what of it was settled: the witness of *stored*.

It looks at the fake cluster, at which answers reached the agent whole, and at what was committed: never at how the agent judges
or counts. A document is *heard* when the attempt that created it was answered in a way that can be believed and the settle of
its block was committed; every other document of the index is *unheard*, and the ledger must know it as a duplicate or not yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vosship.events import Block, Document

Name = tuple[str, str]
"""Index and id of a document."""

Key = tuple[str, int, bytes]
"""Base name, offset, line without its newline."""


class Sent:
    """One block on its way. It holds the block, so that no other can be taken for it by its `id()`."""

    def __init__(self, block: Block, number: int) -> None:
        self.block = block
        self.number = number
        """Which attempt it first went out with: live blocks of one batch share it, and batches go out in order."""
        self.revived = block.offsets is not None
        """Whether it is a dead line that is tried again: files know no offsets of single lines."""
        self.told: set[Name] = set()
        """Created, and the agent was told so."""
        self.put_off: set[Name] = set()
        """Whatever else was said of them before, the last answer settles nothing: busy, unavailable, too large, unreadable."""


class Hearing:
    """The documents of one history, over all its agents."""

    def __init__(self) -> None:
        self.created: set[Name] = set()
        self.heard: dict[Name, str] = {}
        """With the base name of the file that each came from."""
        self.begin()

    @property
    def unheard(self) -> set[Name]:
        """What is in the index and was never settled as stored."""
        return self.created - self.heard.keys()

    def begin(self) -> None:
        """Another agent: of what the one before was told and had not settled, it knows nothing."""
        self._sent: dict[int, Sent] = {}
        self._attempts = 0

    def goes_out(self, batch: Sequence[Document]) -> None:
        """The agent sends."""
        self._attempts += 1
        for document in batch:
            self._sent.setdefault(id(document.block), Sent(document.block, self._attempts))

    def carried_out(self, batch: Sequence[Document], statuses: Sequence[int]) -> None:
        """The cluster has done it, whoever hears of it."""
        self.created.update(_name(document) for document, status in zip(batch, statuses, strict=True) if status == 201)

    def answered(self, batch: Sequence[Document], statuses: Sequence[int] | None) -> None:
        """The agent has an answer; None when it tells nothing of any document, or nothing that can be believed."""
        for document, status in zip(batch, statuses or [503] * len(batch), strict=True):
            sent = self._sent[id(document.block)]
            if status == 429 or status >= 500:
                sent.put_off.add(_name(document))
            else:
                sent.put_off.discard(_name(document))
            if status == 201:
                sent.told.add(_name(document))

    def settled(self, blocks: Iterable[Block]) -> None:
        """The settle of these blocks is committed."""
        for block in blocks:
            sent = self._sent.pop(id(block), None)
            if sent is not None:
                self._hear(sent)

    def tried_again(self, lines: set[Key]) -> None:
        """What became of these dead lines is committed."""
        for sent in self._revived():
            if (sent.block.stream.base, sent.block.offset, sent.block.data[:-1]) in lines:
                self._hear(self._sent.pop(id(sent.block)))

    def forget_revived(self) -> None:
        """Dead lines were tried again and what became of them could not be entered: the next try begins anew."""
        for sent in self._revived():
            del self._sent[id(sent.block)]

    def forgotten_for_nothing(self) -> list[Name]:
        """When an agent has ended in order: what it was told and did not settle, though nothing that was put off stood in the way.

        Live batches settle in their order, so one that was put off holds up itself and those after it; of a try of dead lines
        nothing is entered before all of it is answered.
        """
        ways = list(self._sent.values())
        first = min((sent.number for sent in ways if sent.put_off and not sent.revived), default=self._attempts + 1)
        revived = any(sent.put_off for sent in ways if sent.revived)
        return [name for sent in ways if not (revived if sent.revived else sent.number >= first) for name in sorted(sent.told)]

    def _hear(self, sent: Sent) -> None:
        self.heard.update(dict.fromkeys(sent.told, sent.block.stream.base))

    def _revived(self) -> list[Sent]:
        return [sent for sent in self._sent.values() if sent.revived]


def _name(document: Document) -> Name:
    return document.index, document.id
