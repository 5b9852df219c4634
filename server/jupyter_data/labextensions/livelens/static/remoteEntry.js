// livelens in JupyterLab 4: a launcher card for each allowed model, a command, and a panel with the page in it.
//
// This is a module federation container written by hand. JupyterLab calls `init` with its shared modules and `get`
// for the plugin; nothing else of a bundler's output is needed, so nothing here has to be built.
(function () {
  "use strict";

  const COMMAND = "livelens:open";
  let shared = null;

  /** The one copy of a JupyterLab package that everybody uses: the loaded one, else the newest. */
  async function shared_module(name) {
    const versions = shared[name] ?? {};
    const parts = (version) => version.split(/[^0-9]+/).map(Number);
    const newest = Object.keys(versions).sort((one, other) => {
      const [left, right] = [parts(one), parts(other)];
      const at = left.findIndex((part, index) => part !== right[index]);
      return at < 0 ? 0 : right[at] - left[at];
    });
    const version = newest.find((candidate) => versions[candidate].loaded) ?? newest[0];
    if (version === undefined) throw new Error(`livelens: this JupyterLab does not share ${name}`);
    return (await versions[version].get())();
  }

  /** Names of the models that the server's configuration allows; none where its extension is off. */
  async function allowed_models(settings) {
    const { ServerConnection } = await shared_module("@jupyterlab/services"); // its requests have a JupyterHub's key
    const reply = await ServerConnection.makeRequest(`${settings.baseUrl}livelens/models`, {}, settings);
    if (!reply.ok) throw new Error(`livelens: the server extension does not answer (${reply.status})`);
    return (await reply.json()).map((model) => model.name);
  }

  function panel_of(name, base_url, icon, { MainAreaWidget, Widget }) {
    const content = new Widget();
    content.addClass("jp-IFrame"); // JupyterLab's own: keeps the frame from swallowing a drag that passes over it
    const frame = document.createElement("iframe");
    frame.title = `livelens: ${name}`;
    frame.src = `${base_url}livelens/model/${encodeURIComponent(name)}/`;
    frame.style.cssText = "width: 100%; height: 100%; border: none";
    content.node.append(frame);
    const panel = new MainAreaWidget({ content });
    panel.id = `livelens-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    panel.title.label = name === "smollm2" ? "livelens" : `livelens: ${name}`;
    panel.title.icon = icon;
    panel.title.closable = true;
    panel.toolbar.hide();
    panel.livelens_name = name;
    return panel;
  }

  async function plugin() {
    const [{ ILayoutRestorer }, { ICommandPalette, MainAreaWidget, WidgetTracker }, { ILauncher }, { LabIcon }, { Widget }] =
      await Promise.all(
        ["@jupyterlab/application", "@jupyterlab/apputils", "@jupyterlab/launcher", "@jupyterlab/ui-components",
          "@lumino/widgets"].map(shared_module),
      );

    async function activate(app, launcher, palette, restorer) {
      const settings = app.serviceManager.serverSettings;
      const icon = new LabIcon({ name: "livelens:icon", svgstr: ICON });
      const tracker = new WidgetTracker({ namespace: "livelens" });
      app.commands.addCommand(COMMAND, {
        label: (given) => (given.name ? `livelens: ${given.name}` : "livelens"),
        caption: "Watch a language model think, and reach in while it does",
        describedBy: { args: { type: "object", properties: { name: { type: "string" } } } },
        icon: (given) => (given.isPalette ? undefined : icon),
        execute: async (given) => {
          const name = given.name ?? (await allowed_models(settings))[0];
          const panel = panel_of(name, settings.baseUrl, icon, { MainAreaWidget, Widget });
          await tracker.add(panel);
          app.shell.add(panel, "main");
          app.shell.activateById(panel.id);
          return panel;
        },
      });
      if (restorer) {
        void restorer.restore(tracker, {
          command: COMMAND,
          args: (panel) => ({ name: panel.livelens_name }),
          name: (panel) => panel.livelens_name,
        });
      }
      try {
        (await allowed_models(settings)).forEach((name, rank) => {
          launcher?.add({ command: COMMAND, args: { name }, category: "Other", rank: 10 + rank });
          palette?.addItem({ command: COMMAND, args: { name, isPalette: true }, category: "livelens" });
        });
      } catch (error) {
        console.warn(error.message);
      }
    }

    return {
      id: "livelens:plugin",
      description: "A launcher card and a panel for livelens.",
      autoStart: true,
      optional: [ILauncher, ICommandPalette, ILayoutRestorer],
      // Not awaited: JupyterLab's start does not wait for what the server says.
      activate: (...given) => void activate(...given).catch((error) => console.error(error)),
    };
  }

  const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20">
    <rect width="20" height="20" rx="4" fill="#0b0f16"/>
    <circle cx="10" cy="10" r="7.2" fill="none" stroke="#8fa6e6" stroke-width="1.5"/>
    <path d="M3.4 12.5C6 5.5 14 5.5 16.6 12.5" fill="none" stroke="#ffab4a" stroke-width="1.8"/>
    <circle cx="16.4" cy="12.4" r="1.9" fill="#ffab4a"/>
    </svg>`;

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.livelens = {
    init(scope) {
      shared = scope;
    },
    async get(name) {
      if (name !== "./extension") throw new Error(`livelens: there is no module ${name}`);
      const made = await plugin();
      return () => ({ __esModule: true, default: made });
    },
  };
})();
