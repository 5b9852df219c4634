// The run's id in the page's address (`#run=...`): a reload rejoins it, the link shares it. Other keys stay.
import { hash_keys, hash_of } from "../store/page_hash";

export interface RunLink {
  read(): string | null;
  write(run_id: string | null): void;
  on_change(listener: () => void): void;
}

export function with_run(hash: string, run_id: string | null): string {
  const keys = hash_keys(hash);
  if (run_id === null) keys.delete("run");
  else keys.set("run", run_id);
  return hash_of(keys);
}

export function run_of(hash: string): string | null {
  const run_id = hash_keys(hash).get("run");
  return run_id && run_id.length <= 64 ? run_id : null;
}

/** Without a step of history: going back should leave the page, not walk through old runs. */
export function replace_hash(hash: string): void {
  history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
}

export function page_run_link(): RunLink {
  return {
    read: () => run_of(location.hash),
    write: (run_id) => {
      const hash = with_run(location.hash, run_id);
      if (hash !== location.hash) replace_hash(hash);
    },
    on_change: (listener) => addEventListener("hashchange", listener),
  };
}
