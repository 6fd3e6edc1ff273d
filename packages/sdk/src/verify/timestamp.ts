/**
 * Checks an RFC 3161 time stamp over some data by roots that the verifier holds. The same code in Node and in browsers;
 * nothing is asked of any network, so that revocation is not looked at: what a token shows stands on the authority's key
 * at the time of the token.
 *
 * A token shows that the data existed no later than its time, by the authority's clock (its accuracy, often a second, is
 * not added). It shows nothing about the time at which the data says it was made.
 */

import { equalBytes } from '@evident/core/bytes.ts';
import type { TimestampCheck } from '@evident/core/evidence/check-anchors.ts';
import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';
import { ContentInfo, IssuerAndSerialNumber, SignedData } from 'pkijs';
import {
  certificateByHash,
  checkSignerPath,
  cryptoEngine,
  type HeldCertificate,
  holdCertificate,
  isRoot,
  isStrongPss,
  nameOf,
  readCertificates,
} from './certificate-path.ts';
import { type DerElement, oidOf, parseDer } from './der.ts';
import {
  HASHES,
  parseTimestampInfo,
  parseTimestampReply,
  parseTimestampRequest,
  requestMismatch,
  type TimestampInfo,
} from './timestamp-token.ts';

export type TimestampVerdict = Awaited<ReturnType<TimestampCheck>>;

/** Bytes of a reply: a token with a chain has up to 10 KiB. */
export const TIMESTAMP_REPLY_BYTES_MAX = 64 * 1024;
const TOKEN_CERTIFICATES_MAX = 20;

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const TST_INFO = '1.2.840.113549.1.9.16.1.4';
const CONTENT_TYPE = '1.2.840.113549.1.9.3';
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const SIGNING_CERTIFICATE = '1.2.840.113549.1.9.16.2.12';
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';
const RSA = '1.2.840.113549.1.1.1';
const RSA_PSS = '1.2.840.113549.1.1.10';
const SIGNATURES = new Set([
  RSA,
  ...['11', '12', '13'].map((last) => `1.2.840.113549.1.1.${last}`),
  ...['2', '3', '4'].map((last) => `1.2.840.10045.4.3.${last}`),
]);

export interface TimestampTerms {
  /** The roots that are trusted: those that issued themselves. Others help to find the way to one. */
  readonly certificates: readonly HeldCertificate[];
  /** DER of the TimeStampReq: then nonce, imprint and policy must be those that were asked for. */
  readonly request?: Uint8Array;
  /** Object identifier that the policy of the token must be. */
  readonly policy?: string;
  /** Common name that the certificate of the authority must have. */
  readonly commonName?: string;
}

/**
 * A check by the roots of a file: PEM, or one certificate in DER.
 * @throws RangeError when it holds none that issued itself
 */
export function timestampCheck(file: Uint8Array): TimestampCheck {
  const certificates = readRoots(file);
  return (reply, data) => verifyTimestamp(reply, data, { certificates });
}

/** Certificates of a file, at least one of them a root. @throws RangeError */
export function readRoots(file: Uint8Array): readonly HeldCertificate[] {
  const certificates = readCertificates(file);
  if (!certificates.some(isRoot)) throw new RangeError('certificates: none of them is a root');
  return certificates;
}

/**
 * @returns `tampered` for what contradicts itself or the data, `not checked` for what leads to no root that was given or
 *   rests on what this platform can't check
 */
export async function verifyTimestamp(
  givenReply: Uint8Array,
  givenData: Uint8Array,
  terms: TimestampTerms,
): Promise<TimestampVerdict> {
  // Copies that begin where their memory does: the library reads the memory behind a view, and a Buffer is one of a pool.
  const [reply, data] = [new Uint8Array(givenReply), new Uint8Array(givenData)];
  if (reply.length > TIMESTAMP_REPLY_BYTES_MAX)
    return tampered(`the reply has more than ${TIMESTAMP_REPLY_BYTES_MAX} bytes`);
  const token = readToken(reply);
  if (!token.ok) return tampered(token.reason);
  const { info, signedAttributes } = token.value;
  const mismatch = termsMismatch(info, terms);
  if (mismatch !== null) return tampered(mismatch);
  const digest = await globalThis.crypto.subtle.digest(info.imprint.hash, data as BufferSource);
  if (!equalBytes(new Uint8Array(digest), info.imprint.digest))
    return tampered('the token is over other data');
  const held = [...token.value.certificates, ...terms.certificates];
  const signer = await signerOf(signedAttributes, held);
  if (signer.kind !== 'found') return signer.verdict;
  const { certificate } = signer.held;
  const signature = await checkSignature(token.value, signer.held, data);
  if (signature !== null) return signature;
  const path = await checkSignerPath(signer.held, {
    roots: terms.certificates.filter(isRoot),
    others: held.filter((one) => !isRoot(one)),
    at: new Date(Number(info.genTime / 1_000n)),
  });
  if (!path.ok) return path.reaches ? tampered(path.reason) : notChecked(path.reason);
  const authority = nameOf(certificate);
  if (terms.commonName !== undefined && authority !== terms.commonName)
    return tampered(`the token is of ${authority}, and ${terms.commonName} was expected`);
  return { ok: true, at: info.genTime, authority };
}

function tampered(reason: string): TimestampVerdict {
  return { ok: false, verdict: 'tampered', reason };
}

function notChecked(reason: string): TimestampVerdict {
  return { ok: false, verdict: 'not checked', reason };
}

interface Token {
  readonly info: TimestampInfo;
  /** ContentInfo. */
  readonly contentInfo: Uint8Array;
  /** The TSTInfo, as it is signed. */
  readonly content: Uint8Array;
  /** Those that came with it, in their order; what is no certificate of X.509 is left out. */
  readonly certificates: readonly HeldCertificate[];
  readonly signedAttributes: ReadonlyMap<string, DerElement>;
}

function readToken(reply: Uint8Array): Parsed<Token> {
  const contentInfo = parseTimestampReply(reply);
  if (!contentInfo.ok) return contentInfo;
  const parsed = parseDer(contentInfo.value);
  if (!parsed.ok) return parsed;
  const [type, wrapped] = parsed.value.children;
  const signedData = wrapped?.tag === 0xa0 ? wrapped.children[0] : undefined;
  if (type === undefined || oidOf(type) !== SIGNED_DATA || signedData?.tag !== 0x30)
    return refuse('the token is no SignedData');
  const [, , encapsulated, ...rest] = signedData.children;
  const certificatePart = rest[0]?.tag === 0xa0 ? rest.shift() : undefined;
  if (rest[0]?.tag === 0xa1) rest.shift();
  const [signers, ...behind] = rest;
  if (signers?.tag !== 0x31 || signers.children.length !== 1 || behind.length > 0)
    return refuse('the token does not have exactly one signer');
  const content = contentOf(encapsulated);
  if (content === null) return refuse('what is signed is no TSTInfo');
  const info = parseTimestampInfo(content);
  if (!info.ok) return info;
  const attributes = signedAttributesOf(signers.children[0]!);
  if (!attributes.ok) return attributes;
  const certificates = (certificatePart?.children ?? []).filter(({ tag }) => tag === 0x30);
  if (certificates.length > TOKEN_CERTIFICATES_MAX)
    return refuse(`the token brings more than ${TOKEN_CERTIFICATES_MAX} certificates`);
  return accept({
    info: info.value,
    contentInfo: contentInfo.value,
    content,
    certificates: certificates.map(({ bytes }) => holdCertificate(bytes)).filter((held) => held !== null),
    signedAttributes: attributes.value,
  });
}

function contentOf(encapsulated: DerElement | undefined): Uint8Array | null {
  const [type, wrapped] = encapsulated?.children ?? [];
  const octets = wrapped?.tag === 0xa0 ? wrapped.children[0] : undefined;
  if (type === undefined || oidOf(type) !== TST_INFO || octets?.tag !== 0x04) return null;
  return octets.content;
}

/** By type the one value of each attribute. Two of a type, or of a value, would let two readers see two things. */
function signedAttributesOf(signer: DerElement): Parsed<ReadonlyMap<string, DerElement>> {
  // version, sid, digestAlgorithm, [0] signedAttrs
  const attributes = signer.children[3];
  if (attributes?.tag !== 0xa0) return refuse('the token has no signed attributes');
  const found = new Map<string, DerElement>();
  for (const { tag, children } of attributes.children) {
    const [type, values, ...rest] = children;
    const oid = type === undefined ? null : oidOf(type);
    if (tag !== 0x30 || oid === null || values?.tag !== 0x31 || rest.length > 0 || found.has(oid))
      return refuse('the signed attributes of the token are malformed');
    const [value, ...more] = values.children;
    if (value === undefined || more.length > 0)
      return refuse('a signed attribute of the token does not have exactly one value');
    found.set(oid, value);
  }
  const contentType = found.get(CONTENT_TYPE);
  if (contentType === undefined || oidOf(contentType) !== TST_INFO)
    return refuse('the signed content type of the token is not that of a TSTInfo');
  if (found.get(MESSAGE_DIGEST)?.tag !== 0x04) return refuse('the token has no signed digest');
  return accept(found);
}

function termsMismatch(info: TimestampInfo, { request, policy }: TimestampTerms): string | null {
  if (policy !== undefined && info.policy !== policy)
    return `the token has the policy ${info.policy}, and ${policy} was expected`;
  if (request === undefined) return null;
  const asked = parseTimestampRequest(request);
  return asked.ok ? requestMismatch(info, asked.value) : asked.reason;
}

type FoundSigner =
  | { readonly kind: 'found'; readonly held: HeldCertificate }
  | { readonly kind: 'fault'; readonly verdict: TimestampVerdict };

/**
 * The certificate that the signed attributes name by its hash (ESSCertID of RFC 2634 §5.4, ESSCertIDv2 of RFC 5035 §4):
 * another one, put in beside it, is never taken.
 */
async function signerOf(
  attributes: ReadonlyMap<string, DerElement>,
  held: readonly HeldCertificate[],
): Promise<FoundSigner> {
  let found: HeldCertificate | null = null;
  for (const oid of [SIGNING_CERTIFICATE_V2, SIGNING_CERTIFICATE]) {
    const attribute = attributes.get(oid);
    if (attribute === undefined) continue;
    const named = essCertificateOf(attribute, oid === SIGNING_CERTIFICATE_V2);
    if (named === null)
      return { kind: 'fault', verdict: tampered('the token names its certificate in no way that is taken') };
    const one = await certificateByHash(held, named.hash, named.digest);
    if (!one.ok) return { kind: 'fault', verdict: notChecked(one.reason) };
    if (found !== null && !equalBytes(found.der, one.value.der))
      return { kind: 'fault', verdict: tampered('the token names two certificates') };
    found = one.value;
  }
  if (found === null) return { kind: 'fault', verdict: tampered('the token does not name its certificate') };
  return { kind: 'found', held: found };
}

/** Hash of the first certificate of SigningCertificate or SigningCertificateV2, which is the signer's. */
function essCertificateOf(
  attribute: DerElement,
  isV2: boolean,
): { readonly hash: string; readonly digest: Uint8Array } | null {
  const first = attribute.children[0]?.children[0];
  const parts = [...(first?.children ?? [])];
  let hash = isV2 ? 'SHA-256' : 'SHA-1';
  if (isV2 && parts[0]?.tag === 0x30) {
    const oid = parts.shift()!.children[0];
    const known = oid === undefined ? undefined : HASHES[oidOf(oid) ?? ''];
    if (known === undefined) return null;
    hash = known.name;
  }
  return parts[0]?.tag === 0x04 ? { hash, digest: parts[0].content } : null;
}

/** The signature over the signed attributes, and their digest over the TSTInfo. @returns null when both are right */
async function checkSignature(
  { contentInfo, content, signedAttributes }: Token,
  signer: HeldCertificate,
  data: Uint8Array,
): Promise<TimestampVerdict | null> {
  try {
    const signedData = new SignedData({ schema: ContentInfo.fromBER(contentInfo.slice().buffer).content });
    const [signerInfo] = signedData.signerInfos;
    const { digestAlgorithm, signatureAlgorithm, sid } = signerInfo!;
    const { algorithmId, algorithmParams } = signatureAlgorithm;
    const isTaken = SIGNATURES.has(algorithmId) || (algorithmId === RSA_PSS && isStrongPss(algorithmParams));
    const hash = HASHES[digestAlgorithm.algorithmId];
    if (hash === undefined || !isTaken)
      return notChecked(
        `the token is signed by ${digestAlgorithm.algorithmId} with ${algorithmId}, which is not taken`,
      );
    const digest = await globalThis.crypto.subtle.digest(hash.name, content as BufferSource);
    if (!equalBytes(new Uint8Array(digest), signedAttributes.get(MESSAGE_DIGEST)!.content))
      return tampered('the signed digest of the token is not that of its TSTInfo');
    const { certificate } = signer;
    if (
      sid instanceof IssuerAndSerialNumber &&
      !(certificate.issuer.isEqual(sid.issuer) && certificate.serialNumber.isEqual(sid.serialNumber))
    )
      return tampered('the signer of the token is not the certificate that it names by its hash');
    // The one that the signed attributes name, and no other: the library takes the first whose name fits.
    signedData.certificates = [certificate];
    const bytes = data.slice().buffer;
    const isRight = await signedData.verify({ signer: 0, data: bytes, checkChain: false }, cryptoEngine());
    return isRight ? null : tampered('the signature of the token is not valid');
  } catch (error) {
    return notChecked(
      `the signature of the token can't be checked: ${(error as Error).message.slice(0, 200)}`,
    );
  }
}
