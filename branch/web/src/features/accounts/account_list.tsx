import { Button, CloseButton, Kbd, Skeleton, TextInput } from '@mantine/core';
import { useDebouncedValue, useDisclosure } from '@mantine/hooks';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { useEffect, useRef, useState, type KeyboardEvent } from 'react';
import { useSearchParams } from 'react-router-dom';
import { queries } from '../../api/queries';
import { Icon } from '../../components/icon';
import { Empty, Problem } from '../../components/states';
import { useTexts } from '../../i18n';
import { useShortcut } from '../../lib/use_shortcut';
import { NewAccount } from '../record/new_record';
import styles from './account_list.module.css';
import { AccountTable } from './account_table';

const kTypingMs = 160;

export function AccountList() {
  const { t, format } = useTexts();
  const [parameters, setParameters] = useSearchParams();
  const [search, setSearch] = useState(parameters.get('q') ?? '');
  const [term] = useDebouncedValue(search, kTypingMs);
  const sort = parameters.get('sort') ?? 'name';
  const descending = parameters.get('dir') === 'desc';
  const [creating, create] = useDisclosure(false);
  // Enter was pressed: open the first account as soon as it is that of these very letters.
  const [opening, setOpening] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const table = useRef<HTMLDivElement>(null);
  const me = useQuery(queries.me());
  const accounts = useInfiniteQuery(queries.accounts({ search: term, sort, descending }));
  const rows = accounts.data?.pages.flatMap((page) => page.value) ?? [];
  const count = accounts.data?.pages[0]?.count ?? null;
  const mayWrite = me.data?.MayWrite !== false;

  useEffect(() => {
    document.title = `${t.list.title} – ${t.app.name}`;
  }, [t]);

  // The address keeps what is looked at: reload, back and a sent link show the same.
  useEffect(() => {
    setParameters(
      (now) => {
        const next = new URLSearchParams(now);
        if (term.trim() === '') next.delete('q');
        else next.set('q', term);
        return next;
      },
      { replace: true },
    );
  }, [term, setParameters]);

  const answered = accounts.isSuccess && !accounts.isPlaceholderData && term === search;
  useEffect(() => {
    if (!opening || !answered) return;
    setOpening(false);
    table.current?.querySelector<HTMLAnchorElement>('a[data-row]')?.click();
  }, [opening, answered]);

  function sortBy(column: string) {
    setParameters((now) => {
      const next = new URLSearchParams(now);
      next.set('sort', column);
      if (column === sort && !descending) next.set('dir', 'desc');
      else next.delete('dir');
      return next;
    });
  }

  const links = () => Array.from(table.current?.querySelectorAll<HTMLAnchorElement>('a[data-row]') ?? []);

  function onSearchKey(event: KeyboardEvent) {
    if (event.key === 'Escape') {
      if (search !== '') setSearch('');
      else field.current?.blur();
    }
    if (event.key === 'ArrowDown') {
      event.preventDefault();
      links()[0]?.focus();
    }
    if (event.key === 'Enter') setOpening(true);
  }

  function onTableKey(event: KeyboardEvent) {
    const all = links();
    const at = all.findIndex((link) => link === document.activeElement);
    if (event.key === 'Escape') field.current?.focus();
    if (at < 0 || (event.key !== 'ArrowDown' && event.key !== 'ArrowUp')) return;
    event.preventDefault();
    if (event.key === 'ArrowUp' && at === 0) field.current?.focus();
    else all[at + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
  }

  useShortcut('/', () => field.current?.focus());
  useShortcut('n', create.open);

  const told = count === null ? '' : term.trim() === '' ? t.list.count(count, format.number(count)) : t.list.found(count, format.number(count));
  return (
    <>
      <div className={styles['head']}>
        <div>
          <h1>{t.list.title}</h1>
          <p className="quiet numbers" role="status" aria-live="polite">
            {told === '' ? <Skeleton h={12} w={90} mt={6} component="span" display="block" /> : told}
          </p>
        </div>
        <TextInput
          ref={field}
          type="text"
          role="searchbox"
          aria-label={t.list.search}
          placeholder={t.list.searchHint}
          size="md"
          className={styles['search'] ?? ''}
          leftSection={<Icon name="search" />}
          rightSection={
            search === '' ? <Kbd>/</Kbd> : <CloseButton aria-label={t.list.clear} onClick={() => setSearch('')} />
          }
          value={search}
          onChange={(event) => {
            setOpening(false);
            setSearch(event.currentTarget.value);
          }}
          onKeyDown={onSearchKey}
        />
        {mayWrite && (
          <Button size="md" leftSection={<Icon name="plus" />} onClick={create.open} aria-keyshortcuts="n">
            {t.list.new}
          </Button>
        )}
      </div>

      <div className={`card ${styles['card']}`} ref={table} onKeyDown={onTableKey} data-stale={accounts.isPlaceholderData || undefined}>
        {accounts.isError && rows.length === 0 ? (
          <Problem error={accounts.error} retry={() => void accounts.refetch()} />
        ) : accounts.isSuccess && rows.length === 0 ? (
          term.trim() === '' ? (
            <Empty icon="building" title={t.list.none} help={t.list.noneHelp}>
              {mayWrite && (
                <Button variant="light" onClick={create.open}>
                  {t.list.new}
                </Button>
              )}
            </Empty>
          ) : (
            <Empty icon="search" title={t.list.noMatch(term.trim())} help={t.list.noMatchHelp}>
              <Button variant="default" onClick={() => setSearch('')}>
                {t.list.clear}
              </Button>
            </Empty>
          )
        ) : (
          <AccountTable rows={accounts.isPending ? null : rows} sort={sort} descending={descending} onSort={sortBy} />
        )}
      </div>
      {accounts.hasNextPage && (
        <div className={styles['more']}>
          <Button variant="default" loading={accounts.isFetchingNextPage} onClick={() => void accounts.fetchNextPage()}>
            {t.list.more}
          </Button>
          <span className="faint numbers">
            {format.number(rows.length)} / {format.number(count ?? rows.length)}
          </span>
        </div>
      )}
      <NewAccount opened={creating} onClose={create.close} />
    </>
  );
}
