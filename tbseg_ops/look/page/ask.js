// A question that takes a while: its answer comes line by line. Leaving, or asking anew, ends it.

// The answer; `tell` is given what the server is at. AbortError once `signal` was given.
export async function ask(path, body, tell, signal) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer: has it ended?");
  }
  if (!answer.ok || !answer.body) throw refusal(await answer.json().catch(() => ({})), answer.status);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const told = JSON.parse(line);
      if (told.answer) return told.answer;
      if (told.error) throw refusal(told);
      tell(told.waiting ? `waiting: ${told.waiting} before you` : `${Math.round(told.working)} s`);
    }
    if (done) throw new Error("the server ended in the middle of its answer");
  }
}

function refusal({ error, detail }, status) {
  if (status === 401) return new Error("you are not logged in any more");
  if (status === 403) return new Error("this needs the right to trigger the DAG tbseg_segment: ask for it, or look at a registered dataset");
  return new Error(error ? sentence(error) : detail ? String(detail) : `the server answers ${status}`);
}

// What is wrong, what was found, and the mend.
export function sentence({ what, expected, found, mend }) {
  const parts = [found && `found: ${found}`, expected && `expected: ${expected}`].filter(Boolean);
  return `${what}${parts.length ? ` (${parts.join("; ")})` : ""}${mend ? `\n${mend}` : ""}`;
}
