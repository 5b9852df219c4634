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
    rolldownOptions: {
      // three changes seldom: a chunk of its own stays in the browser's cache.
      // The writer of Parquet files is only fetched when somebody saves one.
      output: {
        codeSplitting: {
          groups: [
            { name: "three", test: /node_modules[\\/](three|camera-controls)[\\/]/ },
            { name: "parquet", test: /node_modules[\\/]hyparquet/ },
          ],
        },
      },
    },
  },
  worker: { format: "es" },
});
