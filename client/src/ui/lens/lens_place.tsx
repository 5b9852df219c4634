// The frame of a lens that is asked for: the switch of views, what else it can be told, how the question stands, the answer.
import type { ComponentChildren, JSX } from "preact";
import { ProfileState } from "../parts/asking";
import type { Profile } from "../parts/use_profile";
import { ViewSwitch } from "./view_switch";

export function LensPlace<Answer>({ profile, label, tools, children }: {
  profile: Profile<Answer>;
  label: string;
  tools?: ComponentChildren;
  children: (answer: Answer) => ComponentChildren;
}): JSX.Element {
  const { answer, progress } = profile.slot;
  return (
    <>
      <div class="table-tools">
        <ViewSwitch />
        {tools}
        <ProfileState profile={profile} />
      </div>
      <div class="lens-scroll" tabIndex={0} role="region" aria-label={label} aria-busy={progress !== null}>
        {answer && children(answer)}
      </div>
    </>
  );
}

/** Nothing to ask: why, in words. */
export function NoLens({ why }: { why: string }): JSX.Element {
  return (
    <>
      <div class="table-tools"><ViewSwitch /></div>
      <p class="muted pad">{why}</p>
    </>
  );
}
