// A film of the picture as WebM: begun and ended by the person.
import { signal, type ReadonlySignal } from "@preact/signals";
import type { Film } from "../../layout/scene_handle";
import type { SceneView } from "../scene_view";

const TYPES = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];
const FRAMES_PER_SECOND = 30;
const BITS_PER_SECOND = 8_000_000;
/** A film that nobody ends: about twelve minutes. */
const MAX_BYTES = 768 * 1024 * 1024;

export interface FilmMaker {
  /** Why there can be no film in this browser; none where there can. */
  problem: string | null;
  is_filming: ReadonlySignal<boolean>;
  start(scene: SceneView): void;
  stop(): void;
}

/** `done` gets the film, and whether it ended because it had grown too large. */
export function create_film_maker(done: (film: Blob, is_cut: boolean) => void): FilmMaker {
  const is_filming = signal(false);
  const type = typeof MediaRecorder === "undefined" ? undefined : TYPES.find((each) => MediaRecorder.isTypeSupported(each));
  let recorder: MediaRecorder | null = null;

  function start(scene: SceneView): void {
    if (type === undefined || recorder) return;
    const film: Film = scene.film(FRAMES_PER_SECOND);
    const parts: Blob[] = [];
    let size = 0;
    recorder = new MediaRecorder(film.stream, { mimeType: type, videoBitsPerSecond: BITS_PER_SECOND });
    recorder.ondataavailable = (event) => {
      parts.push(event.data);
      size += event.data.size;
      if (size > MAX_BYTES) stop();
    };
    recorder.onstop = () => {
      film.stop();
      recorder = null;
      is_filming.value = false;
      if (size > 0) done(new Blob(parts, { type: "video/webm" }), size > MAX_BYTES);
    };
    recorder.start(1000);
    is_filming.value = true;
  }

  function stop(): void {
    if (recorder?.state === "recording") recorder.stop();
  }

  const problem = type === undefined ? "This browser writes no WebM: use Chromium, Chrome, Edge or Firefox." : null;
  return { problem, is_filming, start, stop };
}
