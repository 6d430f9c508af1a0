// What the screens read. Each query says in `meta` which sets it is made of, so that the change stream knows what to
// read anew.
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';
import type { Account, Activity, Contact, Incident, Me, Note, Order, User } from './entities';
import { call } from './http';
import { followPage, kData, readPage, readRecord, text, type Page, type Stored } from './odata';
import { readSyncStatus } from './sync';

export interface Reads extends Record<string, unknown> {
  sets: readonly string[];
  // Only changes of this record concern it.
  record?: string;
}

declare module '@tanstack/react-query' {
  interface Register {
    queryMeta: Reads | { sets?: never };
  }
}

export interface AccountsQuery {
  search: string;
  sort: string;
  descending: boolean;
}

const kAccountColumns = [
  'name',
  'accountnumber',
  'customertypecode',
  'address1_city',
  'address1_country',
  'telephone1',
  'modifiedon',
] as const;

const kRelatedPage = 25;

export function accountsFilter(search: string): string {
  const term = search.trim();
  return term === '' ? '' : `contains(name,${text(term)}) or contains(accountnumber,${text(term)})`;
}

function pages<T>(key: readonly unknown[], sets: readonly string[], pageSize: number, first: (signal: AbortSignal) => Promise<Page<T>>) {
  return infiniteQueryOptions({
    queryKey: key,
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) => (pageParam === null ? first(signal) : followPage<T>(pageParam, pageSize, signal)),
    getNextPageParam: (page: Page<T>) => page.next,
    placeholderData: keepPreviousData,
    meta: { sets },
  });
}

export const queries = {
  me: () =>
    queryOptions({
      queryKey: ['me'],
      queryFn: async ({ signal }) => (await call(`${kData}WhoAmI()`, { signal })).body as Me,
      staleTime: Infinity,
    }),

  status: () =>
    queryOptions({
      queryKey: ['status'],
      queryFn: ({ signal }) => readSyncStatus(signal),
      retry: false,
      // The change stream says when to look; this is for the time when it does not come through.
      refetchInterval: (query) => (query.state.status === 'error' ? 2_000 : 15_000),
    }),

  users: () =>
    queryOptions({
      queryKey: ['users'],
      queryFn: ({ signal }) => readPage<User>('systemusers', { select: ['fullname'], pageSize: 5000, signal }),
      select: (page) => new Map(page.value.map((u) => [u.systemuserid, u.fullname])),
      staleTime: 600_000,
      meta: { sets: ['systemusers'] },
    }),

  accounts: ({ search, sort, descending }: AccountsQuery) =>
    pages<Account>(['accounts', search, sort, descending], ['accounts'], 50, (signal) =>
      readPage<Account>('accounts', {
        filter: accountsFilter(search),
        orderby: descending ? `${sort} desc` : sort,
        select: kAccountColumns,
        count: true,
        pageSize: 50,
        signal,
      }),
    ),

  record: <T extends Stored>(set: string, id: string) =>
    queryOptions({
      queryKey: ['record', set, id],
      queryFn: ({ signal }) => readRecord<T>(set, id, signal),
      meta: { sets: [set], record: id },
    }),

  contactsOf: (account: string) =>
    pages<Contact>(['related', account, 'contacts'], ['contacts'], kRelatedPage, (signal) =>
      readPage<Contact>(`accounts(${account})/contact_customer_accounts`, {
        orderby: 'fullname',
        count: true,
        pageSize: kRelatedPage,
        signal,
      }),
    ),

  ordersOf: (account: string) =>
    pages<Order>(
      ['related', account, 'salesorders'],
      ['salesorders', 'salesorderdetails', 'shipments'],
      kRelatedPage,
      (signal) =>
        readPage<Order>(`accounts(${account})/order_customer_accounts`, {
          orderby: 'orderdate desc',
          expand: 'order_details($orderby=lineitemnumber),salesorder_shipments($orderby=shipmentnumber)',
          count: true,
          pageSize: kRelatedPage,
          signal,
        }),
    ),

  casesOf: (account: string) =>
    pages<Incident>(['related', account, 'incidents'], ['incidents'], kRelatedPage, (signal) =>
      readPage<Incident>(`accounts(${account})/incident_customer_accounts`, {
        orderby: 'createdon desc',
        count: true,
        pageSize: kRelatedPage,
        signal,
      }),
    ),

  // A note is part of its record: the stream tells the record.
  notesOf: (set: string, id: string) =>
    queryOptions({
      queryKey: ['notes', id],
      queryFn: ({ signal }) =>
        readPage<Note>('annotations', { filter: `_objectid_value eq ${id}`, orderby: 'createdon desc', pageSize: 200, signal }),
      meta: { sets: [set], record: id },
    }),

  activitiesOf: (id: string) =>
    queryOptions({
      queryKey: ['activities', id],
      queryFn: ({ signal }) =>
        readPage<Activity>('activitypointers', {
          filter: `_regardingobjectid_value eq ${id}`,
          orderby: 'createdon desc',
          pageSize: 200,
          signal,
        }),
      meta: { sets: ['activitypointers'] },
    }),
};
