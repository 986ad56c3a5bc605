"""What a long command shows while it works: bars and one line a stage, on stderr; stdout is for results."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from tqdm import tqdm

from experiments.lab.artifacts import Artifact
from experiments.lab.tracking import Tracker


@contextmanager
def bar(label: str, total: int, unit: str) -> Iterator[tqdm]:
    """A progress bar that disappears when its work is done; where nobody watches, a line now and then."""
    seconds = 0.2 if sys.stderr.isatty() else 30.0
    with tqdm(
        total=total, desc=f"  {label}", unit=f" {unit}", mininterval=seconds, leave=False, file=sys.stderr
    ) as shown:
        yield shown


def announce(artifact: Artifact, what: str = "") -> Artifact:
    """Say that a stage is done and whether there was anything to do; the artifact is passed through."""
    effort = "reused" if artifact.reused else f"{artifact.seconds:6.1f} s"
    print(f"  {f'{artifact.stage} {what}':<22} {effort:>8}  {artifact.folder}", file=sys.stderr)
    return artifact


class Bars:
    """Bars for a training of several parts, each of which reports (part, updates done, in all, metrics)."""

    def __init__(self, tracker: Tracker, label: str) -> None:
        self._tracker, self._label = tracker, label
        self._stack = ExitStack()
        self._bars: dict[str, tqdm] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def update(self, part: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Move the part's bar, and record its metrics under their own names."""
        if part not in self._bars:
            self._bars[part] = self._stack.enter_context(bar(part, total, "updates"))
        shown = self._bars[part]
        shown.update(done - shown.n)
        shown.set_postfix(loss=f"{metrics['loss']:.3g}", refresh=False)
        self._tracker.log({f"{self._label}/{part}/{name}": value for name, value in metrics.items()})
