// A film: a canvas of its own that is drawn anew after each frame, and its stream.
import type { Film } from "../layout/scene_handle";
import type { Picture } from "./picture";
import { compose, type StillParts } from "./still";

/** Film `picture` until `stop`; `parts` is asked after each frame, while what was drawn is still there. */
export function film(picture: Picture, frames_per_second: number, parts: () => StillParts): Film {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser gives no canvas to film on.");
  // The size is the film's for good: a recorder does not follow one that changes. Even sides suit every codec.
  const [width, height] = picture.surface.size;
  [canvas.width, canvas.height] = [Math.ceil(width / 2) * 2, Math.ceil(height / 2) * 2];
  const end = picture.after_frame(() => compose(context, canvas.width / picture.surface.size[0], parts()));
  // A still scene draws no frames, and a recorder wants some.
  const timer = setInterval(() => picture.frames.ask(), 1000 / Math.min(frames_per_second, 10));
  const stream = canvas.captureStream(frames_per_second);
  picture.frames.ask();
  return {
    stream,
    stop: () => {
      clearInterval(timer);
      end();
      for (const track of stream.getTracks()) track.stop();
    },
  };
}
