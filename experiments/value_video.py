"""See what a critic says: the value curve beside the video, with the true curve and the lapses where they are known.

    python -m experiments.value_video DATASET [episodes=[0,3]] [critic=wvm] [format=strip]
    python -m experiments.value_video workspace.mp4 wrist.mp4 instruction="stack the red cube on the green cube"
    python -m experiments.value_video film.mp4 instruction="…" critic=my_module:fn

DATASET is a LeRobot v3 folder. Video files are views of one event, in the order of the critic's cameras (the critic that
ships: workspace, wrist), or one file that already has them side by side. format=video writes an mp4, format=strip a
picture. The last line is JSON: the files written.
"""

from __future__ import annotations

from experiments.command import command


@command
def main() -> None:
    """The command line. Imports are here: simulator processes import this file too."""
    from experiments.cli import answer
    from experiments.value_videos import value_video

    answer(value_video, __doc__)


if __name__ == "__main__":
    main()
