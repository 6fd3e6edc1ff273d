/**
 * The way from a certificate to a pinned root, as RFC 5280 §6 has it, at a given time. Certificates that came with what is
 * checked only help to find it: one that is on no way to a root counts for nothing, however many there are.
 */

import { equalBytes } from '@evident/core/bytes.ts';
import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';
import {
  BasicConstraints,
  Certificate,
  CryptoEngine,
  type Extension,
  ExtKeyUsage,
  RSASSAPSSParams,
} from 'pkijs';
import { parseDer } from './der.ts';
import { HASHES } from './timestamp-token.ts';

/** A certificate, and the bytes that it was read from. */
export interface HeldCertificate {
  readonly der: Uint8Array;
  readonly certificate: Certificate;
}

const PEM_BYTES_MAX = 1024 * 1024;
const CERTIFICATES_MAX = 200;
/** Certificates on the way, the first and the root included. */
const PATH_MAX = 8;
/** Signatures that one search may check: a stranger's certificates may sign one another in circles. */
const SIGNATURES_MAX = 64;

const KEY_USAGE = '2.5.29.15';
const BASIC_CONSTRAINTS = '2.5.29.19';
const EXTENDED_KEY_USAGE = '2.5.29.37';
/** Critical extensions that are acted upon, or (subject name, policies) take nothing away from what is checked here. */
const UNDERSTOOD = new Set([
  KEY_USAGE,
  BASIC_CONSTRAINTS,
  EXTENDED_KEY_USAGE,
  '2.5.29.14',
  '2.5.29.17',
  '2.5.29.32',
  '2.5.29.35',
]);
export const TIME_STAMPING = '1.3.6.1.5.5.7.3.8';
const ANY_EXTENDED_KEY_USAGE = '2.5.29.37.0';
/** Bits of keyUsage, in its first octet. */
const DIGITAL_SIGNATURE = 0x80;
const NON_REPUDIATION = 0x40;
const KEY_CERT_SIGN = 0x04;

/** RSA and ECDSA over SHA-2, Ed25519. */
const SIGNATURES = new Set([
  ...['11', '12', '13'].map((last) => `1.2.840.113549.1.1.${last}`),
  ...['2', '3', '4'].map((last) => `1.2.840.10045.4.3.${last}`),
  '1.3.101.112',
]);
const RSA_PSS = '1.2.840.113549.1.1.10';

/** WebCrypto of this platform, whoever else set another one. */
export function cryptoEngine(): CryptoEngine {
  return new CryptoEngine({ name: 'webcrypto', crypto: globalThis.crypto });
}

/** @returns null for bytes that are no certificate in DER */
export function holdCertificate(der: Uint8Array): HeldCertificate | null {
  if (!parseDer(der).ok) return null;
  try {
    return { der, certificate: Certificate.fromBER(der.slice().buffer) };
  } catch {
    return null;
  }
}

/**
 * Reads a file of certificates: PEM, what stands between them ignored, or a single one in DER.
 * @throws RangeError when there is none, one is broken, or there are more than 200
 */
export function readCertificates(file: Uint8Array): readonly HeldCertificate[] {
  if (file.length > PEM_BYTES_MAX) throw new RangeError(`certificates: more than ${PEM_BYTES_MAX} bytes`);
  const single = holdCertificate(file);
  if (single !== null) return [single];
  const text = new TextDecoder().decode(file);
  const blocks = [
    ...text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g),
  ];
  if (blocks.length === 0) throw new RangeError('certificates: there is none, neither in PEM nor in DER');
  if (blocks.length > CERTIFICATES_MAX) throw new RangeError(`certificates: more than ${CERTIFICATES_MAX}`);
  return blocks.map(([, base64], index) => {
    const held = holdCertificate(bytesOf(base64!));
    if (held === null) throw new RangeError(`certificates: number ${index + 1} is broken`);
    return held;
  });
}

function bytesOf(base64: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(base64.replaceAll(/\s/g, ''));
  } catch {
    return new Uint8Array();
  }
}

/** Issued by itself, by name: what a file of roots pins. Whether its own signature is right says nothing about anybody. */
export function isRoot({ certificate }: HeldCertificate): boolean {
  return certificate.subject.isEqual(certificate.issuer);
}

export interface PathQuery {
  readonly roots: readonly HeldCertificate[];
  /** Helps to find the way. */
  readonly others: readonly HeldCertificate[];
  readonly at: Date;
}

/** A way that leads to no root, or one that leads to a root and breaks a rule. */
export type PathFault = { readonly ok: false; readonly reaches: boolean; readonly reason: string };

/** Whether a certificate may sign time stamps, by a root that is pinned. */
export async function checkSignerPath(
  signer: HeldCertificate,
  query: PathQuery,
): Promise<{ readonly ok: true } | PathFault> {
  const own = signerFault(signer.certificate, query.at);
  const search = { ...query, left: SIGNATURES_MAX, engine: cryptoEngine(), fault: null as string | null };
  const found = await extend(search, [signer]);
  if (found === 'found') return own === null ? { ok: true } : { ok: false, reaches: true, reason: own };
  if (search.fault !== null) return { ok: false, reaches: true, reason: search.fault };
  return { ok: false, reaches: false, reason: 'no way leads from its certificate to a root that was given' };
}

interface Search extends PathQuery {
  left: number;
  readonly engine: CryptoEngine;
  /** Why a way that does reach a root is none. */
  fault: string | null;
}

async function extend(search: Search, path: readonly HeldCertificate[]): Promise<'found' | 'none'> {
  const last = path.at(-1)!;
  if (search.roots.some(({ der }) => equalBytes(der, last.der))) {
    const fault = pathFault(path, search.at);
    search.fault ??= fault;
    return fault === null ? 'found' : 'none';
  }
  if (path.length === PATH_MAX) return 'none';
  for (const issuer of [...search.roots, ...search.others]) {
    if (path.some(({ der }) => equalBytes(der, issuer.der))) continue;
    if (!last.certificate.issuer.isEqual(issuer.certificate.subject)) continue;
    if (search.left-- <= 0) return 'none';
    if (!(await isSignedBy(last.certificate, issuer.certificate, search.engine))) continue;
    if ((await extend(search, [...path, issuer])) === 'found') return 'found';
  }
  return 'none';
}

async function isSignedBy(
  certificate: Certificate,
  issuer: Certificate,
  engine: CryptoEngine,
): Promise<boolean> {
  try {
    return await certificate.verify(issuer, engine);
  } catch {
    // An algorithm that this platform lacks, or a malformed key: then it shows nothing.
    return false;
  }
}

/** What is wrong with the issuers of a way, and with the times of all; null: nothing. */
function pathFault(path: readonly HeldCertificate[], at: Date): string | null {
  for (const [index, { certificate }] of path.entries()) {
    if (certificate.notBefore.value > at || certificate.notAfter.value < at)
      return `the certificate of ${nameOf(certificate)} was not valid at ${at.toISOString()}`;
    const isPinned = index === path.length - 1;
    const fault = isPinned ? null : (algorithmFault(certificate) ?? criticalFault(certificate));
    if (fault !== null) return fault;
    // The signer itself issues nothing.
    const issues = index === 0 ? null : issuerFault(certificate, index - 1);
    if (issues !== null) return issues;
  }
  return null;
}

function algorithmFault(certificate: Certificate): string | null {
  const { algorithmId, algorithmParams } = certificate.signatureAlgorithm;
  if (SIGNATURES.has(algorithmId) || (algorithmId === RSA_PSS && isStrongPss(algorithmParams))) return null;
  return `the certificate of ${nameOf(certificate)} is signed by ${algorithmId}, which is not taken`;
}

/** The hash of RSASSA-PSS stands in its parameters, and is SHA-1 where they don't say. */
export function isStrongPss(parameters: unknown): boolean {
  try {
    const { hashAlgorithm } = new RSASSAPSSParams({ schema: parameters });
    return HASHES[hashAlgorithm.algorithmId] !== undefined;
  } catch {
    return false;
  }
}

function criticalFault(certificate: Certificate): string | null {
  const strange = certificate.extensions?.find(({ critical, extnID }) => critical && !UNDERSTOOD.has(extnID));
  if (strange === undefined) return null;
  return `the certificate of ${nameOf(certificate)} has the critical extension ${strange.extnID}, which is not understood`;
}

/** @param below certificates between this issuer and the signer */
function issuerFault(certificate: Certificate, below: number): string | null {
  const name = nameOf(certificate);
  const constraints = extensionOf(certificate, BASIC_CONSTRAINTS)?.parsedValue as unknown;
  if (!(constraints instanceof BasicConstraints) || !constraints.cA)
    return `${name} signed a certificate and is no authority for that`;
  const { pathLenConstraint: most } = constraints;
  const longest = most === undefined ? PATH_MAX : Number(typeof most === 'number' ? most : most.toBigInt());
  if (below > longest) return `${name} may have ${longest} authorities below it, and has ${below}`;
  const usage = keyUsageOf(certificate);
  if (usage !== null && (usage & KEY_CERT_SIGN) === 0) return `the key of ${name} may not sign certificates`;
  const purposes = purposesOf(certificate);
  if (purposes !== null && !purposes.some((one) => one === TIME_STAMPING || one === ANY_EXTENDED_KEY_USAGE))
    return `${name} may not issue for time stamping`;
  return null;
}

/** RFC 3161 §2.3: the extended key usage is critical, and time stamping alone. */
function signerFault(certificate: Certificate, at: Date): string | null {
  const name = nameOf(certificate);
  const purposes = purposesOf(certificate);
  if (purposes?.length !== 1 || purposes[0] !== TIME_STAMPING)
    return `the key of ${name} is not for time stamping alone`;
  if (extensionOf(certificate, EXTENDED_KEY_USAGE)?.critical !== true)
    return `that the key of ${name} is for time stamping is not marked critical`;
  const usage = keyUsageOf(certificate);
  if (usage !== null && (usage & (DIGITAL_SIGNATURE | NON_REPUDIATION)) === 0)
    return `the key of ${name} may not sign at ${at.toISOString()}`;
  return null;
}

function extensionOf(certificate: Certificate, oid: string): Extension | undefined {
  return certificate.extensions?.find(({ extnID }) => extnID === oid);
}

/** Null: there is no such extension. What can't be read allows nothing. */
function purposesOf(certificate: Certificate): readonly string[] | null {
  const extension = extensionOf(certificate, EXTENDED_KEY_USAGE);
  if (extension === undefined) return null;
  const value = extension.parsedValue as unknown;
  return value instanceof ExtKeyUsage ? value.keyPurposes : [];
}

/** The first octet of the bits; null: there is no such extension. */
function keyUsageOf(certificate: Certificate): number | null {
  const extension = extensionOf(certificate, KEY_USAGE);
  if (extension === undefined) return null;
  // BIT STRING: tag, length, unused bits, octets.
  const parsed = parseDer(extension.extnValue.valueBlock.valueHexView);
  return parsed.ok && parsed.value.tag === 0x03 ? (parsed.value.content[1] ?? 0) : 0;
}

/** The common name, or else the last name that there is; printable characters of it, at most 128. */
export function nameOf({ subject }: Certificate): string {
  const parts = subject.typesAndValues;
  const common = parts.find(({ type }) => type === '2.5.4.3') ?? parts.at(-1);
  const text = String((common?.value.valueBlock as { value?: unknown } | undefined)?.value ?? '');
  return text === '' ? 'a certificate without a name' : text.replaceAll(/\p{C}/gu, '?').slice(0, 128);
}

/** The single certificate with this hash; a refusal for none. */
export async function certificateByHash(
  held: readonly HeldCertificate[],
  hash: string,
  digest: Uint8Array,
): Promise<Parsed<HeldCertificate>> {
  for (const one of held) {
    const own = new Uint8Array(await globalThis.crypto.subtle.digest(hash, one.der as BufferSource));
    if (equalBytes(own, digest)) return accept(one);
  }
  return refuse('the certificate that the token names is not there');
}
