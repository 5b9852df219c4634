// One page with its recording inside: the server's page in one file, with the recording's bytes put in as base64.
import { Refusal } from "../../connection/requests";

const PLACE = "<!--livelens-recording-->";
const MAX_BYTES = 256 * 1024 * 1024;
const SLICE = 3 * 8192;

/** Rejects with Refusal where the page cannot be had. */
export async function page_with_recording(recording: Uint8Array, name: string): Promise<Blob> {
  if (recording.length > MAX_BYTES) {
    throw new Refusal("too_large", `A page can carry a recording of ${MAX_BYTES} bytes, this has ${recording.length}: save the recording itself.`);
  }
  const template = await fetch("./single.html").then((answer) => (answer.ok ? answer.text() : null), () => null);
  const [before, after] = template?.split(PLACE) ?? [];
  if (before === undefined || after === undefined) {
    throw new Refusal("no_page", "The page to put the recording into could not be had from the server.");
  }
  const open = `<script type="application/x-livelens" id="livelens-recording" data-name="${attribute(name)}">`;
  const parts: string[] = [before, open];
  for (let at = 0; at < recording.length; at += SLICE) {
    parts.push(btoa(String.fromCharCode(...recording.subarray(at, at + SLICE))));
  }
  return new Blob([...parts, "</script>", after], { type: "text/html" });
}

function attribute(text: string): string {
  return text.replace(/[&"<>]/g, (char) => `&#${char.charCodeAt(0)};`);
}
