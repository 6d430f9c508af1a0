import { Skeleton } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useSyncExternalStore, type MouseEvent } from 'react';
import { Link, useNavigate } from 'react-router-dom';
import type { Account } from '../../api/entities';
import { fates } from '../../api/fates';
import { queries } from '../../api/queries';
import { Icon } from '../../components/icon';
import { Tile } from '../../components/tile';
import { fieldLabel, optionLabel, useTexts } from '../../i18n';
import { FateMark } from '../sync/fate_mark';
import styles from './account_table.module.css';

interface Props {
  rows: Account[] | null; // null: not here yet
  sort: string;
  descending: boolean;
  onSort: (column: string) => void;
}

const kColumns = ['name', 'accountnumber', 'customertypecode', 'address1_city', 'telephone1', 'modifiedon'] as const;

export function AccountTable({ rows, sort, descending, onSort }: Props) {
  const { t } = useTexts();
  return (
    <table className={styles['table']} aria-label={t.list.title} aria-busy={rows === null}>
      <thead>
        <tr>
          {kColumns.map((column) => {
            const label = column === 'modifiedon' ? t.list.changed : fieldLabel(t, 'account', column);
            const sorted = column === sort;
            return (
              <th key={column} scope="col" data-column={column} aria-sort={sorted ? (descending ? 'descending' : 'ascending') : 'none'}>
                <button type="button" onClick={() => onSort(column)} title={t.list.sortBy(label)}>
                  {label}
                  <span data-shown={sorted || undefined}>
                    <Icon name={sorted && descending ? 'down' : 'up'} size={14} />
                  </span>
                </button>
              </th>
            );
          })}
        </tr>
      </thead>
      <tbody>{rows === null ? <Waiting /> : rows.map((account) => <Row key={account.accountid} account={account} />)}</tbody>
    </table>
  );
}

function Row({ account }: { account: Account }) {
  const { t, format } = useTexts();
  const navigate = useNavigate();
  const client = useQueryClient();
  const saved = useSyncExternalStore(fates.subscribe, fates.all);
  const path = `/accounts/${account.accountid}`;
  const place = [account.address1_city, account.address1_country].filter(Boolean).join(', ');

  // The whole row can be clicked; the keyboard and new tabs have the link.
  function open(event: MouseEvent) {
    if (event.target instanceof Element && event.target.closest('a') !== null) return;
    if (getSelection()?.isCollapsed === false) return;
    void navigate(path);
  }

  // Here before it is asked for.
  const prepare = () => void client.prefetchQuery(queries.record<Account>('accounts', account.accountid));

  return (
    <tr onClick={open} onPointerEnter={prepare} onFocus={prepare}>
      <td data-column="name">
        <Link to={path} data-row className={styles['name'] ?? ''}>
          <Tile name={account.name} size={34} />
          <span>{account.name}</span>
        </Link>
        <FateMark saved={saved.findLast((s) => s.record === account.accountid)} short />
      </td>
      <td data-column="accountnumber" className="quiet">{account.accountnumber}</td>
      <td data-column="customertypecode">
        {account.customertypecode !== null && (
          <span className={styles['chip']}>{optionLabel(t, 'account', 'customertypecode', account.customertypecode)}</span>
        )}
      </td>
      <td data-column="address1_city">{place}</td>
      <td data-column="telephone1">{account.telephone1}</td>
      <td data-column="modifiedon" className="faint" title={format.moment(account.modifiedon)}>
        {format.ago(account.modifiedon)}
      </td>
    </tr>
  );
}

function Waiting() {
  return Array.from({ length: 9 }, (_, row) => (
    <tr key={row} aria-hidden="true">
      <td data-column="name">
        <span className={styles['name']}>
          <Skeleton h={34} w={34} radius={10} />
          <Skeleton h={12} w={130 + ((row * 53) % 90)} />
        </span>
      </td>
      {kColumns.slice(1).map((column) => (
        <td key={column} data-column={column}>
          <Skeleton h={10} w={60 + ((row * 37 + column.length * 11) % 50)} />
        </td>
      ))}
    </tr>
  ));
}
