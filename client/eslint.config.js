import tseslint from "typescript-eslint";

// Who may import whom (docs/architecture.md): protocol <- connection, store, layout <- scene, ui <- main.
const forbid = (files, patterns) => ({
  files,
  rules: { "no-restricted-imports": ["error", { patterns }] },
});
const only_scene = { group: ["three", "three/*", "camera-controls"], message: "only scene/ imports three" };
const folder = (name) => ({ group: [`**/${name}/*`], message: `this folder may not import ${name}/` });

export default tseslint.config(
  { ignores: ["src/protocol/generated.ts", "node_modules"] },
  ...tseslint.configs.recommended,
  { rules: { "@typescript-eslint/no-explicit-any": "error", "@typescript-eslint/naming-convention": "off" } },
  forbid(["src/protocol/**"], [only_scene, ...["connection", "store", "layout", "scene", "ui"].map(folder)]),
  forbid(["src/store/**", "src/layout/**"], [only_scene, ...["connection", "scene", "ui"].map(folder)]),
  forbid(["src/connection/**"], [only_scene, ...["layout", "scene", "ui"].map(folder)]),
  forbid(["src/scene/**"], [folder("ui"), folder("connection")]),
  forbid(["src/ui/**"], [only_scene, folder("scene")]),
  forbid(["src/main.ts", "src/main.tsx"], [only_scene]),
);
