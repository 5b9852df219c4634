// The run's id in the page's address (`#run=...`): a reload rejoins it, the link shares it. Other keys stay.

export interface RunLink {
  read(): string | null;
  write(run_id: string | null): void;
  on_change(listener: () => void): void;
}

export function with_run(hash: string, run_id: string | null): string {
  const keys = new URLSearchParams(hash.replace(/^#/, ""));
  if (run_id === null) keys.delete("run");
  else keys.set("run", run_id);
  const text = keys.toString();
  return text ? `#${text}` : "";
}

export function run_of(hash: string): string | null {
  const run_id = new URLSearchParams(hash.replace(/^#/, "")).get("run");
  return run_id && run_id.length <= 64 ? run_id : null;
}

export function page_run_link(): RunLink {
  return {
    read: () => run_of(location.hash),
    write: (run_id) => {
      const hash = with_run(location.hash, run_id);
      // replaceState: going back should leave the page, not walk through old runs.
      if (hash !== location.hash) history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
    },
    on_change: (listener) => addEventListener("hashchange", listener),
  };
}
