import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { drop_notice } from "../store/store";
import type { Notice } from "../store/types";
import { IconButton } from "./icons";
import { use_page } from "./page";

const INFO_MS = 8_000;

/** Faults and news, newest below; faults stay until they are closed. */
export function Toasts(): JSX.Element {
  const { store } = use_page();
  return (
    <div class="toasts" aria-live="assertive" role="log" aria-label="Messages">
      {store.notices.value.map((notice) => <Toast key={notice.id} notice={notice} />)}
    </div>
  );
}

function Toast({ notice }: { notice: Notice }): JSX.Element {
  const { store } = use_page();
  useEffect(() => {
    if (notice.level !== "info") return undefined;
    const timer = setTimeout(() => drop_notice(store, notice.id), INFO_MS);
    return () => clearTimeout(timer);
  }, [notice.id]);
  return (
    <div class="toast" data-level={notice.level}>
      <p>{notice.text}</p>
      <IconButton icon="close" label="Close this message" onClick={() => drop_notice(store, notice.id)} />
    </div>
  );
}
