import { Button, Skeleton } from '@mantine/core';
import type { InfiniteData, UseInfiniteQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { Page } from '../../api/odata';
import type { IconName } from '../../components/icon';
import { Empty, Problem } from '../../components/states';
import { useTexts } from '../../i18n';
import styles from './related.module.css';

interface Props<T> {
  query: UseInfiniteQueryResult<InfiniteData<Page<T>>>;
  empty: { icon: IconName; title: string; help: string };
  isEmpty?: (rows: T[]) => boolean;
  action?: ReactNode;
  children: (rows: T[]) => ReactNode;
}

// The states that every list below a record goes through.
export function RelatedList<T>({ query, empty, isEmpty = (rows) => rows.length === 0, action, children }: Props<T>) {
  const { t } = useTexts();
  if (query.isPending) {
    return (
      <div className={styles['waiting']} aria-busy="true">
        {[180, 240, 150].map((width) => (
          <Skeleton key={width} h={14} w={width} />
        ))}
      </div>
    );
  }
  if (query.data === undefined) return <Problem error={query.error} retry={() => void query.refetch()} />;
  const rows = query.data.pages.flatMap((page) => page.value);
  return (
    <>
      {isEmpty(rows) && !query.hasNextPage ? <Empty {...empty}>{action}</Empty> : children(rows)}
      {query.hasNextPage && (
        <div className={styles['more']}>
          <Button variant="subtle" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            {t.list.more}
          </Button>
        </div>
      )}
    </>
  );
}
