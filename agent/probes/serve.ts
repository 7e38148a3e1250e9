import { createListenerSet } from "#agent/listeners/listener-set.ts";
import { openHttp, type HttpAnswer, type HttpPlace } from "#agent/listeners/http.ts";
import { answerExplain, EXPLAIN_PATH, type ExplainDeps } from "#agent/explain/answer.ts";
import type { AgentMetrics } from "./metrics.ts";
import { checksOf, isStuck, renderChecks, type Check, type Looked } from "./checks.ts";

/** /livez, /healthz, /readyz and /metrics of this agent, for whoever watches over the host, and /dns/explain for `fairlead dns lookup`. */
export interface ProbeDeps {
  /** undefined = nobody wants them. */
  readonly listen: HttpPlace | undefined;
  readonly look: () => Looked;
  /** What else /readyz looks at. */
  readonly more?: () => readonly Check[];
  readonly metrics: Pick<AgentMetrics, "registry">;
  /** Why names are what they are here. */
  readonly explain: ExplainDeps;
  /** The port is another program's; undefined = no more. */
  readonly onTrouble: (trouble: string | undefined) => void;
}

export async function serveProbes({ listen, look, more, metrics, explain, onTrouble }: ProbeDeps, signal: AbortSignal): Promise<void> {
  if (!listen) return;
  const listeners = createListenerSet({ onTrouble: (_name, trouble) => onTrouble(trouble) });
  listeners.want("probes", () =>
    openHttp(listen, (url, from) =>
      url.pathname === EXPLAIN_PATH ? answerExplain(explain, url.searchParams, from) : answerProbe(url, look, metrics, more),
    ),
  );
  await listeners.run(signal);
}

export async function answerProbe(
  { pathname, searchParams }: URL,
  look: () => Looked,
  { registry }: ProbeDeps["metrics"],
  more: () => readonly Check[] = () => [],
): Promise<HttpAnswer | undefined> {
  switch (pathname) {
    case "/livez":
      return text(200, "ok");
    case "/healthz":
      return isStuck(look()) ? text(503, "a change does not come into the kernel: see /readyz?verbose\n") : text(200, "ok");
    case "/readyz": {
      const { isOk, verbose } = renderChecks([...checksOf(look()), ...more()], "readyz");
      return isOk && !searchParams.has("verbose") ? text(200, "ok") : text(isOk ? 200 : 503, verbose);
    }
    case "/metrics":
      return { status: 200, type: registry.contentType, body: await registry.metrics() };
    default:
      return undefined;
  }
}

function text(status: number, body: string): HttpAnswer {
  return { status, type: "text/plain; charset=utf-8", body };
}
