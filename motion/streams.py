"""The streams of one camera: a small one for motion detection, if it has one, and the one for pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from motion.burst import BurstRecorder, CapturedBurst
from motion.clip import Clip, ClipLimits, ClipRecorder
from motion.config import Camera
from motion.picture import Picture
from motion.stream import LIVE, Stream


class CameraStreams:
    """The streams that a worker starts and stops for one camera."""

    def __init__(
        self,
        camera: Camera,
        on_burst: Callable[[CapturedBurst], None],
        on_state: Callable[[str], None],
        *,
        clip_limits: ClipLimits | None = None,
        on_clip: Callable[[Clip], None] = lambda clip: None,
    ) -> None:
        """Prepare.

        Args:
            camera: its entry in `cameras.yaml`.
            on_burst: receives each burst.
            on_state: receives `live` or `lost: <reason>` at every change, from any thread.
            clip_limits: of the clips around bursts; None to record none.
            on_clip: receives each clip.
        """
        self.camera = camera.id
        self._on_burst = on_burst
        burst_s = (camera.burst.frames - 1) * camera.burst.spacing_s
        self._clips = None if clip_limits is None else ClipRecorder(camera.id, clip_limits, burst_s, on_clip)
        self.recorder = watch = BurstRecorder(camera, self._take, self._freeze)
        self._frozen_s = camera.frozen_s
        self._on_state = on_state
        self._state = ""
        self._states: dict[str, str] = {}
        url = camera.url.get_secret_value()
        more: dict[str, Any] = {"max_latency_s": camera.max_latency_s, "hardware": camera.hardware_decoding}
        if camera.detect_url is None:
            main = Stream(camera.id, url, watch.add_picture, self._reporter("url"), watch, clips=self._clips, **more)
            self._streams = [main]
        else:
            small, take = camera.detect_url.get_secret_value(), _Pictures(watch)
            look = Stream(camera.id, small, self._look, self._reporter("detect_url"), watch, **more)
            main = Stream(camera.id, url, watch.take, self._reporter("url"), take, clips=self._clips, **more)
            self._streams = [look, main]

    @property
    def last_frame_at_s(self) -> float | None:
        """Arrival time of the newest picture in the stream for motion detection."""
        return self._streams[0].last_frame_at_s

    def start(self) -> None:
        """Begin to read."""
        for stream in self._streams:
            stream.start()

    def watch(self) -> None:
        """Replace threads that hang. Call this about once a second."""
        for stream in self._streams:
            stream.watch()

    def stop(self) -> None:
        """Ask the threads to end; returns at once."""
        for stream in self._streams:
            stream.stop()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads of both stopped streams, for at most this long each; one that hangs is left behind."""
        for stream in self._streams:
            stream.join(timeout_s)

    def forget(self) -> None:
        """Remove a stopped camera from the metrics."""
        self._streams[0].forget()

    def _take(self, burst: CapturedBurst) -> None:
        if self._clips is not None:
            self._clips.trigger(burst.frames[0].captured_at, burst.frames[-1].captured_at)
        self._on_burst(burst)

    def _look(self, picture: Picture) -> None:
        self.recorder.look(picture)
        # A small picture is better than none.
        if self._states.get("url", LIVE) != LIVE:
            self.recorder.take(picture)

    @property
    def is_live(self) -> bool:
        """Whether pictures are arriving."""
        return self._state == LIVE

    def _freeze(self, is_frozen: bool) -> None:
        text = f"lost: frozen: the picture has not changed in {self._frozen_s:g} s: restart the camera"
        self._states["picture"] = text if is_frozen else LIVE
        self._report()

    def _reporter(self, key: str) -> Callable[[str], None]:
        def report(status: str) -> None:
            self._states[key] = status
            looked_at = "url" if len(self._streams) == 1 else "detect_url"
            if self._states.get(looked_at, LIVE) != LIVE:
                self.recorder.lost()
            self._report()

        return report

    def _report(self) -> None:
        lost = [(key, status) for key, status in self._states.items() if status != LIVE]
        status_now = lost[0][1] if lost else LIVE
        if lost and len(self._streams) > 1:
            status_now = f"{status_now} ({lost[0][0]})"
        if status_now != self._state:
            self._state = status_now
            self._on_state(status_now)


class _Pictures:
    """Watcher of a stream that is not checked for motion: it is decoded only while a burst is recorded."""

    def __init__(self, watch: BurstRecorder) -> None:
        self._watch = watch

    def suspects(self, picture: Picture) -> bool:
        """Never: motion is detected in the other stream."""
        return False

    def wants(self, at_s: float) -> bool:
        """Whether a burst is being recorded."""
        return self._watch.is_taking

    def may_rest(self, at_s: float) -> bool:
        """Whether no burst is being recorded."""
        return not self._watch.is_taking
