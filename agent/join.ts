import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { ClusterFacts, JoinReply, JoinRequest } from "#proto/agents.ts";
import { openTransport } from "#proto/client-http.ts";
import { AppError, describeError } from "#proto/error.ts";
import { endpointAddressFault } from "#proto/ip.ts";
import { parseJoinToken } from "#proto/join-token.ts";
import { causesOf, describeCauses } from "#proto/parse.ts";
import { paths } from "#proto/paths.ts";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { operatorsOwn, writeMembership, type Membership } from "./config.ts";
import { withoutRefused } from "./node/refused-cidrs.ts";
import { lookAtNetwork, machineIdOf, refuseOverlap } from "./node/facts.ts";

export interface JoinOptions {
  readonly server: string;
  readonly token: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly stateDir: string;
  readonly credentialsFile: string;
  readonly tools: KernelTools;
}

export interface JoinedNow {
  readonly membership: Membership;
  /** The node had a credential, which has ended. */
  readonly replaced: boolean;
}

const MAX_CA_BYTES = 65_536;
const TIMEOUT_MS = 10_000;

/** Once per host: from a join token to this node's own credential. The token is sent only to the server whose authority it names. */
export async function joinFleet(options: JoinOptions, signal: AbortSignal): Promise<JoinedNow> {
  const { server, token, addresses, stateDir, tools } = options;
  const { caFingerprint } = parseJoinToken(token);
  const origin = originOf(server);
  for (const address of addresses) {
    const fault = endpointAddressFault(address);
    if (fault !== undefined) throw new AppError("Usage", `--address ${address}: ${fault}`);
  }
  refuseName(options.name);
  const ca = pinned(await fetchCa(origin, signal), caFingerprint, origin);
  const connection = { server: origin, ca, token: token.trim() };
  const { serviceCidrs } = await askForCluster(connection, signal);
  await refuseOverlap({ tools, serviceCidrs }, signal); // before the token is used and the fleet has a Node that nobody runs
  const network = await lookAtNetwork({ tools, server: origin, serviceCidrs, addresses }, signal);
  if (network.addresses.length === 0)
    throw new AppError("Usage", "no address was found by which other hosts reach this one", { hint: "name one with --address" });
  const wanted = {
    name: options.name,
    machineId: await machineIdOf(stateDir),
    addresses: network.addresses.map((address) => ({ type: "InternalIP", address })),
    podCIDRs: network.containerCidrs,
  };
  const body = JoinRequest.safeParse(wanted);
  if (!body.success) throw new AppError("Usage", `this host cannot join: ${describeCauses(causesOf(body.error, wanted))}`);
  const reply = await askToJoin(connection, body.data, signal);
  const own = await operatorsOwn(options.credentialsFile);
  const membership = { node: reply.node, stateDir, addresses: [...addresses], ...own, cluster: reply.cluster };
  await writeMembership(options.credentialsFile, { server: origin, ca, token: reply.token }, membership);
  return { membership, replaced: reply.replaced };
}

/** Of a file, or of stdin for `-`. */
export async function readToken(file: string): Promise<string> {
  try {
    const text = file === "-" ? await readStdin() : await readFile(file, "utf8");
    return text.slice(0, 4096).trim();
  } catch (cause) {
    throw new AppError("Usage", `cannot read the token from ${file}: ${describeError(cause)}`, { cause });
  }
}

async function readStdin(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.length > 4096) break;
  }
  return text;
}

export function originOf(server: string): string {
  const url = URL.parse(server);
  if (url?.protocol !== "https:" || url.hostname === "")
    throw new AppError("Usage", `"${server}" is not the address of a server`, { hint: "write it like https://10.0.0.5:7443" });
  return url.origin;
}

/** Whoever answers may be anybody yet: what comes is compared, and nothing is said. */
async function fetchCa(origin: string, signal: AbortSignal): Promise<string> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(
        new AppError(
          "ServiceUnavailable",
          `cannot read ${origin}${paths.ca}: ${limit.aborted ? "no answer in time" : describeError(cause)}`,
          {
            cause,
            hint: "is `fairlead server` running there, and its port open?",
          },
        ),
      );
    const asked = request(new URL(paths.ca, origin), { rejectUnauthorized: false, agent: false, signal: limit }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > MAX_CA_BYTES) asked.destroy(new Error("the answer is too long for a certificate"));
      });
      response.once("error", fail);
      response.once("end", () => (response.statusCode === 200 ? resolve(text) : fail(`it answered HTTP ${response.statusCode ?? 0}`)));
    });
    asked.on("error", fail);
    asked.end();
  });
}

/** The one certificate that the token names, and nothing else that may have come with it. */
function pinned(pem: string, caFingerprint: string, origin: string): string {
  let certificate: X509Certificate | undefined;
  try {
    certificate = new X509Certificate(pem);
  } catch {
    certificate = undefined;
  }
  const found = certificate?.fingerprint256.replaceAll(":", "").toLowerCase();
  if (certificate && found === caFingerprint) return certificate.toString();
  throw new AppError(
    "Unauthorized",
    `${origin} is not the server that this token was made on: its authority has the fingerprint ${found ?? "of no certificate"}, the token names ${caFingerprint}`,
    { hint: "check the address; if it is right, somebody else answers there, or the server was set up anew: make a new token on it" },
  );
}

async function askForCluster(connection: { server: string; ca: string; token: string }, signal: AbortSignal): Promise<ClusterFacts> {
  const transport = openTransport(connection);
  try {
    const { body } = await transport.send({ path: paths.cluster, signal, timeoutMs: TIMEOUT_MS });
    return ClusterFacts.parse(body);
  } finally {
    await transport.close();
  }
}

async function askToJoin(
  connection: { server: string; ca: string; token: string },
  body: JoinRequest,
  signal: AbortSignal,
): Promise<JoinReply> {
  const transport = openTransport(connection);
  try {
    const send = async (wanted: JoinRequest): Promise<JoinReply> => {
      const answer = await transport.send({ method: "POST", path: paths.join, body: wanted, signal, timeoutMs: TIMEOUT_MS });
      return JoinReply.parse(answer.body);
    };
    return await send(body).catch((error: unknown) => {
      const podCIDRs = withoutRefused(body.podCIDRs, error);
      if (!podCIDRs) throw error;
      return send({ ...body, podCIDRs });
    });
  } finally {
    await transport.close();
  }
}

/** Before anybody is asked anything. */
function refuseName(name: string): void {
  const { error } = JoinRequest.pick({ name: true }).safeParse({ name });
  if (error)
    throw new AppError("Usage", `this host cannot join: ${describeCauses(causesOf(error, { name }))}`, {
      hint: "choose a name with --name, like vm-1",
    });
}
