"""Reads a written video back, whole, before anybody may see it (reliability.md C1)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lingen_cli.errors import BugError, WriteFailedError
from lingen_cli.files.write_errors import write_error
from lingen_cli.media.colors import BT709, Colors
from lingen_cli.media.frame_hashes import FrameHash, FrameHasher
from lingen_cli.media.open import fraction, open_video

_RATE_ROUNDS = Fraction(1, 100)


def verify_video(
    path: Path,
    *,
    frames: int,
    width: int,
    height: int,
    fps: Fraction,
    hashes: Sequence[FrameHash] = (),
    beside: Sequence[str] = (),
) -> None:
    """Decode everything and check frame count, time grid, size, rate, duration and color tags, and
    the images against `hashes`. `beside` are the kinds of the tracks beside the frames.

    Raises WriteFailedError (74) when the file does not hold what was written, BugError (70) when it
    holds something else than was asked for. Costs about a tenth of the encoding.
    """
    try:
        with av.open(
            f"file:{path}",
            "r",
            container_options={
                "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2",
                "protocol_whitelist": "file",
            },
        ) as container:
            _check_kinds(container, beside)
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            count, hasher = 0, FrameHasher(hashes)
            for frame in container.decode(stream):
                _check_frame(frame, stream, count, (width, height), fps)
                hasher.add(count, frame)
                count += 1
            if count != frames:
                raise WriteFailedError(
                    f"written video has {count} frames instead of {frames}, write it again"
                )
            _check_times(stream, frames, fps)
            if (tags := Colors.of(stream.codec_context)) != BT709:
                raise BugError(f"written video has the color tags {tags} instead of {BT709}")
            _check_images(hasher)
    except av.FFmpegError as error:
        if isinstance(error, av.error.InvalidDataError) or not isinstance(error, OSError):
            raise WriteFailedError(
                f"written video is damaged ({error.strerror}), write it again"
            ) from error
        raise write_error(error, path) from error


def verify_joined(
    path: Path,
    *,
    frames: int,
    width: int,
    height: int,
    fps: Fraction,
    since: int,
    hashes: Sequence[FrameHash] = (),
    beside: Sequence[str] = (),
) -> None:
    """Verify as `verify_video` a video whose first `since` frames are those of another, as they
    were.

    Of these only the last are decoded, and colors are theirs.
    """
    with open_video(path) as video:
        _check_kinds(video.container, beside)
        stream = video.stream
        assert stream.time_base
        if stream.frames != frames:
            raise WriteFailedError(
                f"written video has {stream.frames} frames instead of {frames}, write it again"
            )
        offset = int(Fraction(max(0, since - 1)) / fps / stream.time_base)
        video.container.seek(offset, stream=stream, backward=True)
        index, hasher = None, FrameHasher(hashes)
        for frame in video.container.decode(stream):
            if index is None:
                assert frame.pts is not None
                index = round(frame.pts * stream.time_base * fps)
            _check_frame(frame, stream, index, (width, height), fps)
            hasher.add(index, frame)
            index += 1
        if index != frames:
            raise WriteFailedError(f"written video ends at frame {index} instead of {frames}")
        _check_times(stream, frames, fps)
        _check_images(hasher)


def differences(
    path: Path, known: Sequence[FrameHash], fps: Fraction, size: tuple[int, int]
) -> list[str]:
    """List what is no longer as lingen made it: size, rate, images, their number.

    Images before the first that is `known` are not looked at. Raises like `open_video`.
    """
    problems, hasher = [], FrameHasher(known)
    begin, end = (known[0].begin, known[-1].end) if known else (0, 0)
    number = begin
    with open_video(path) as video:
        stream = video.stream
        found, rate = (stream.width, stream.height), fraction(stream.average_rate)
        if found != size:
            problems.append("its size is {}x{}, not {}x{}".format(*found, *size))
        if rate and abs(rate / fps - 1) > _RATE_ROUNDS:
            problems.append(f"it has {float(rate):g} frames per second, not {float(fps):g}")
        if problems or not known:
            return problems
        if begin and stream.time_base:
            offset = (stream.start_time or 0) + int(begin / fps / stream.time_base)
            video.container.seek(offset, stream=stream, backward=True)
        try:
            first = None
            for frame in video.container.decode(stream):
                if first is None:
                    first = 0
                    if begin and frame.pts is not None and stream.time_base:
                        time = (frame.pts - (stream.start_time or 0)) * stream.time_base
                        first = round(time * fps)
                    number = first
                hasher.add(number, frame)
                number += 1
        except av.FFmpegError:
            problems.append(f"it cannot be decoded after frame {number}")
    if number != end:
        problems.append(f"it has {number} frames, not {end}")
    problems += [
        f"frames {one.begin} to {one.end - 1} differ"
        for one in hasher.differing()
        if one.begin < number
    ]
    return problems


def _check_kinds(container: InputContainer, beside: Sequence[str]) -> None:
    expected = sorted([*beside, "video", *(["data"] if container.chapters() else [])])
    kinds = sorted(stream.type for stream in container.streams)
    if kinds != expected:
        raise BugError(f"written video has the streams {kinds}, expected {expected}")


def _check_images(hasher: FrameHasher) -> None:
    if wrong := hasher.differing():
        first = wrong[0]
        raise WriteFailedError(
            f"written video has other images in frames {first.begin} to {first.end - 1} than "
            "were encoded, write it again"
        )


def _check_frame(
    frame: VideoFrame, stream: VideoStream, index: int, size: tuple[int, int], fps: Fraction
) -> None:
    found = (frame.width, frame.height)
    if found != size:
        raise BugError(f"frame {index} of the written video has the size {found} instead of {size}")
    assert frame.pts is not None and stream.time_base
    if frame.pts * stream.time_base != index / fps:
        time = float(frame.pts * stream.time_base)
        raise BugError(
            f"frame {index} of the written video is at {time} s instead of {float(index / fps)} s"
        )


def _check_times(stream: VideoStream, frames: int, fps: Fraction) -> None:
    assert stream.duration is not None and stream.time_base
    duration = stream.duration * stream.time_base
    if duration != frames / fps:
        raise BugError(
            f"written video lasts {float(duration)} s instead of {float(frames / fps)} s"
        )
    rate = fraction(stream.average_rate)
    if rate != fps:
        raise BugError(f"written video has {rate} frames per second instead of {fps}")
