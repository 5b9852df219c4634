// Questions about a run and their answers: matched by request_id, told of progress, given up where nobody waits.
import type { Command } from "../protocol/generated";
import { ANSWER_TYPES, type AnswerTo, type Progress, type Question } from "../protocol/questions";
import { Refusal, type Requests } from "./requests";

export interface QuestionLine {
  requests: Requests;
  /** The run that is shown; none before there is one. */
  run_id: () => string | null;
  is_open: () => boolean;
  send: (command: Command) => void;
}

/** Ask `question` over `line`; the contract of `Ask`. Rejects with Refusal, `cancelled` where it was given up. */
export async function ask_question<Q extends Question>(
  line: QuestionLine,
  question: Q,
  on_progress?: (progress: Progress) => void,
  given_up?: AbortSignal,
): Promise<AnswerTo<Q>> {
  const run_id = line.run_id();
  if (run_id === null) throw new Refusal("no_run", "There is no run yet.");
  if (!line.is_open()) throw new Refusal("not_connected", "There is no connection to the server right now.");
  if (given_up?.aborted) throw cancelled();
  const { request_id, answer } = line.requests.expect(on_progress);
  const give_up = (): void => {
    if (!line.requests.drop(request_id, cancelled()) || !line.is_open()) return;
    const cancel = line.requests.expect();
    cancel.answer.catch(() => undefined); // it was answered just before, or the line is gone: nothing to tell
    line.send({ type: "cancel_analysis", request_id: cancel.request_id, run_id, cancels: request_id });
  };
  given_up?.addEventListener("abort", give_up);
  try {
    line.send({ ...question, run_id, request_id } as Command);
    const event = await answer;
    const expected = ANSWER_TYPES[question.type];
    if (event.type !== expected) throw new Refusal("unexpected_answer", `The server answered with ${event.type}.`);
    return event as AnswerTo<Q>;
  } finally {
    given_up?.removeEventListener("abort", give_up);
  }
}

function cancelled(): Refusal {
  return new Refusal("cancelled", "The question was given up.");
}
