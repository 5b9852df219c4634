// The same page as one file: script, style and icon inside, and a place for a recording. What `livelens replay
// --html` and the page's "Save as web page" put a recording into. It may fetch nothing, so it can be mailed.
import { createHash } from "node:crypto";
import { defineConfig, type Plugin } from "vite";

const PLACE = "<!--livelens-recording-->";

const sha256 = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
/** As it may stand inside a script element. */
const in_script = (code: string): string => code.replace(/<(\/script|!--)/gi, "\\x3c$1");

function one_file(): Plugin {
  return {
    name: "one-file",
    enforce: "post",
    generateBundle: {
      order: "post", // after vite has put its own names in
      handler(_, bundle) {
        const outputs = Object.values(bundle);
        const script = in_script(outputs.flatMap((item) => (item.type === "chunk" && item.isEntry ? [item.code] : [])).join("\n"));
        const style = outputs
          .flatMap((item) => (item.type === "asset" && item.fileName.endsWith(".css") ? [String(item.source)] : []))
          .join("\n");
        const chunks = outputs.filter((item) => item.type === "chunk");
        if (chunks.length !== 1) this.error(`one chunk was expected, got ${chunks.map((item) => item.fileName).join(", ")}`);
        for (const name of Object.keys(bundle)) delete bundle[name];
        const policy =
          `default-src 'none'; script-src ${sha256(script)}; style-src ${sha256(style)}; img-src data: blob:; ` +
          "media-src blob:; base-uri 'none'; form-action 'none'";
        const source = `<!doctype html>
<html lang="en" data-theme="dark">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<meta name="referrer" content="no-referrer">
<title>livelens</title>
<style>${style}</style>
</head>
<body>
<noscript>livelens needs JavaScript to draw the network.</noscript>
${PLACE}
<script type="module">${script}</script>
</body>
</html>
`;
        this.emitFile({ type: "asset", fileName: "single.html", source });
      },
    },
  };
}

export default defineConfig({
  base: "./",
  publicDir: false,
  plugins: [one_file()],
  build: {
    outDir: "../server/livelens/static",
    emptyOutDir: false,
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    chunkSizeWarningLimit: 2000,
    rolldownOptions: { output: { codeSplitting: false } },
  },
  worker: { format: "es" },
});
