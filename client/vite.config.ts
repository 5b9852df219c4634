import { defineConfig } from "vite";

// Relative URLs only: the page works at /, behind a proxy prefix and inside Jupyter alike.
export default defineConfig({
  base: "./",
  assetsInclude: ["**/*.bin"], // golden frames, read by decode.spec.ts
  build: {
    outDir: "../server/livelens/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1200,
  },
  worker: { format: "es" },
});
