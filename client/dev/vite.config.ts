import { defineConfig } from "vite";

// The harness alone, on a port of its own; no hot reload, so that an edit cannot disturb a measurement.
export default defineConfig({ server: { port: 5199, host: "127.0.0.1", hmr: false }, cacheDir: "node_modules/.vite-harness" });
