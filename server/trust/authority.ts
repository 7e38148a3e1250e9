import "./reflect.ts"; // before x509
import { createHash, createPrivateKey, X509Certificate as NodeCertificate, type webcrypto } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import * as x509 from "@peculiar/x509";
import { AppError } from "#proto/error.ts";
import { formatIp, parseIp } from "#proto/ip.ts";
import { localNames } from "./local-names.ts";
import { readIfThere, writePrivate } from "./private-file.ts";

/** PEM texts. */
export interface TlsFiles {
  readonly key: string;
  /** The server's certificate, then the CA's. */
  readonly cert: string;
}

/** The server's own certificate authority and the certificate that it signed for this host. */
export interface Authority {
  readonly caPem: string;
  readonly caFingerprint: string;
  readonly tls: TlsFiles;
  /** A new certificate if the old one no longer fits, else undefined. */
  refresh(): Promise<TlsFiles | undefined>;
}

interface Options {
  readonly dataDir: string;
  readonly advertise: readonly string[];
  readonly log: Pick<Logger, "info">;
  readonly now: () => number;
}

interface Ca {
  readonly certificate: x509.X509Certificate;
  readonly pem: string;
  readonly key: webcrypto.CryptoKey;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 24 * 3600_000;
const CA_DAYS = 3650;
const SERVER_DAYS = 365;
const RENEW_BEFORE_DAYS = 30;

x509.cryptoProvider.set(crypto);

/** Opens the authority in `dataDir`, or makes it at the first start. */
export async function openAuthority({ dataDir, advertise, log, now }: Options): Promise<Authority> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const paths = {
    caKey: join(dataDir, "ca.key"),
    caCert: join(dataDir, "ca.crt"),
    key: join(dataDir, "tls.key"),
    cert: join(dataDir, "tls.crt"),
  };
  const ca = (await loadCa(paths.caKey, paths.caCert)) ?? (await makeCa(paths.caKey, paths.caCert, now()));
  let tls = await loadTls(paths.key, paths.cert);

  async function refresh(): Promise<TlsFiles | undefined> {
    const names = localNames(advertise);
    if (tls && stillFits(tls, ca, names, now())) return undefined;
    const made = await makeServerCertificate(ca, names, now());
    // The key first: a crash in between leaves a pair that does not match, which is then made anew.
    await writePrivate(paths.key, made.key);
    await writePrivate(paths.cert, made.cert);
    tls = made;
    log.info({ names }, "server certificate made");
    return tls;
  }

  const first = (await refresh()) ?? tls;
  if (!first) throw new Error("a certificate was neither found nor made");
  return {
    caPem: ca.pem,
    caFingerprint: createHash("sha256").update(new Uint8Array(ca.certificate.rawData)).digest("hex"),
    get tls() {
      return tls ?? first;
    },
    refresh,
  };
}

async function loadCa(keyPath: string, certPath: string): Promise<Ca | undefined> {
  const [key, pem] = await Promise.all([readIfThere(keyPath), readIfThere(certPath)]);
  if (key === undefined && pem === undefined) return undefined;
  if (key === undefined || pem === undefined)
    throw new AppError("InternalError", `of the certificate authority, ${key === undefined ? keyPath : certPath} is missing`, {
      hint: "restore it from a backup; without it every host has to join again (then remove both files)",
    });
  const certificate = new x509.X509Certificate(pem);
  return { certificate, pem, key: await importKey(key) };
}

async function makeCa(keyPath: string, certPath: string, now: number): Promise<Ca> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const serialNumber = randomSerial();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber,
    // Told apart from the CA of another fleet, or of this one before it was set up anew.
    name: `CN=Fairlead CA ${serialNumber.slice(0, 8)}`,
    // The clocks of hosts that have just booted may be behind.
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + CA_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pem = `${certificate.toString("pem")}\n`;
  await writePrivate(keyPath, await exportKey(keys.privateKey));
  await writePrivate(certPath, pem, 0o644);
  return { certificate, pem, key: keys.privateKey };
}

async function makeServerCertificate(ca: Ca, names: readonly string[], now: number): Promise<TlsFiles> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: "CN=fairlead server",
    issuer: ca.certificate.subject,
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + SERVER_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: ca.key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: parseIp(value) ? "ip" : "dns", value }) as const)),
      await x509.AuthorityKeyIdentifierExtension.create(ca.certificate.publicKey),
    ],
  });
  return { key: await exportKey(keys.privateKey), cert: `${certificate.toString("pem")}\n${ca.pem}` };
}

async function loadTls(keyPath: string, certPath: string): Promise<TlsFiles | undefined> {
  const [key, cert] = await Promise.all([readIfThere(keyPath), readIfThere(certPath)]);
  return key === undefined || cert === undefined ? undefined : { key, cert };
}

function stillFits({ key, cert }: TlsFiles, ca: Ca, names: readonly string[], now: number): boolean {
  try {
    const certificate = new NodeCertificate(cert);
    const held = new Set((certificate.subjectAltName ?? "").split(", ").map((entry) => canonical(entry.replace(/^(DNS|IP Address):/, ""))));
    return (
      held.size === names.length &&
      names.every((name) => held.has(name)) &&
      Date.parse(certificate.validTo) - now > RENEW_BEFORE_DAYS * DAY_MS &&
      certificate.verify(new NodeCertificate(ca.pem).publicKey) &&
      certificate.checkPrivateKey(createPrivateKey(key))
    );
  } catch {
    return false; // unreadable: made anew
  }
}

/** Node prints IPv6 addresses in upper case and in full. */
function canonical(name: string): string {
  const ip = parseIp(name);
  return ip ? formatIp(ip) : name;
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = x509.PemConverter.decode(pem);
  if (!der) throw new AppError("InternalError", "the key of the certificate authority cannot be read");
  return crypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
}

/** 127 random bits: positive, as RFC 5280 wants it. */
function randomSerial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}
