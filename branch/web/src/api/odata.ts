// The part of OData that the app speaks.
import { call } from './http';

export const kData = '/api/data/v9.2/';

export type FieldValue = string | number | boolean | null | string[];

// A record as the branch sends it: its fields by name, beside its ETag and annotations.
export interface Stored {
  readonly '@odata.etag': string;
  readonly [field: string]: unknown;
}

export interface Page<T> {
  value: T[];
  count: number | null;
  next: string | null;
}

export interface Written<T> {
  record: T;
  mutation: string | null;
}

export interface ListOptions {
  filter?: string;
  orderby?: string;
  select?: readonly string[];
  expand?: string;
  pageSize?: number;
  count?: boolean;
  signal?: AbortSignal;
}

const kAnnotations = 'odata.include-annotations="*"';

export function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

// The server names itself in a nextLink as the request addressed it; a proxy in between may be addressed otherwise.
function sameOrigin(link: string): string {
  const url = new URL(link, location.origin);
  return url.pathname + url.search;
}

function asPage<T>(body: unknown): Page<T> {
  const page = body as { value: T[]; '@odata.count'?: number; '@odata.nextLink'?: string };
  const next = page['@odata.nextLink'];
  return { value: page.value, count: page['@odata.count'] ?? null, next: next === undefined ? null : sameOrigin(next) };
}

export async function readPage<T>(path: string, options: ListOptions = {}): Promise<Page<T>> {
  const parameters: string[] = [];
  const add = (name: string, value: string) => parameters.push(`${name}=${encodeURIComponent(value)}`);
  if (options.filter) add('$filter', options.filter);
  if (options.orderby) add('$orderby', options.orderby);
  if (options.select) add('$select', options.select.join(','));
  if (options.expand) add('$expand', options.expand);
  if (options.count) add('$count', 'true');
  const query = parameters.length === 0 ? '' : `?${parameters.join('&')}`;
  return followPage<T>(kData + path + query, options.pageSize ?? 50, options.signal);
}

export async function followPage<T>(link: string, pageSize: number, signal?: AbortSignal): Promise<Page<T>> {
  const prefer = `odata.maxpagesize=${pageSize}, ${kAnnotations}`;
  const answer = await call(link, { headers: { Prefer: prefer }, ...(signal ? { signal } : {}) });
  return asPage<T>(answer.body);
}

export async function readRecord<T extends Stored>(set: string, id: string, signal?: AbortSignal): Promise<T> {
  const answer = await call(`${kData}${set}(${id})`, { headers: { Prefer: kAnnotations }, ...(signal ? { signal } : {}) });
  return answer.body as T;
}

// `key`: one for what the person means to create; asked again after a lost answer, it stays one record.
export async function createRecord<T extends Stored>(
  set: string,
  values: Record<string, unknown>,
  key: string,
): Promise<Written<T>> {
  const answer = await call(kData + set, {
    method: 'POST',
    body: values,
    headers: { Prefer: `return=representation, ${kAnnotations}`, 'Idempotency-Key': key },
  });
  return { record: answer.body as T, mutation: answer.mutation };
}

// Fails with 412 where the record is no longer what `etag` names.
export async function updateRecord<T extends Stored>(
  set: string,
  id: string,
  etag: string,
  changes: Record<string, unknown>,
): Promise<Written<T>> {
  const answer = await call(`${kData}${set}(${id})`, {
    method: 'PATCH',
    body: changes,
    headers: { 'If-Match': etag, Prefer: `return=representation, ${kAnnotations}` },
  });
  return { record: answer.body as T, mutation: answer.mutation };
}

export function formatted(record: Stored, field: string): string | null {
  const value = record[`${field}@OData.Community.Display.V1.FormattedValue`];
  return typeof value === 'string' ? value : null;
}
