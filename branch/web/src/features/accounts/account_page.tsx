import { Button } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { useNavigate, useParams } from 'react-router-dom';
import type { Account } from '../../api/entities';
import { ApiError } from '../../api/http';
import { queries } from '../../api/queries';
import { Icon } from '../../components/icon';
import { Empty, Problem } from '../../components/states';
import { optionLabel, useTexts } from '../../i18n';
import { useShortcut } from '../../lib/use_shortcut';
import { accountSpec } from '../record/field_spec';
import { NewContact } from '../record/new_record';
import { RecordCard } from '../record/record_card';
import { RecordHead } from '../record/record_head';
import { useRecordEditor } from '../record/use_record_editor';
import { lastCreated, useSaved } from '../sync/fate_mark';
import { Timeline } from '../timeline/timeline';
import styles from './account_page.module.css';
import { RelatedTabs } from './related_tabs';

export function AccountPage() {
  const { id = '' } = useParams();
  // Another account is another page: nothing half entered moves along.
  return <OneAccount key={id} id={id} />;
}

function OneAccount({ id }: { id: string }) {
  const { t } = useTexts();
  const navigate = useNavigate();
  const query = useQuery(queries.record<Account>('accounts', id));
  const me = useQuery(queries.me());
  const account = query.data;
  const editor = useRecordEditor<Account>(accountSpec, id, account, account?.name ?? '');
  const saved = useSaved('accounts', id);
  const [adding, add] = useDisclosure(false);
  const mayWrite = me.data?.MayWrite !== false;

  useEffect(() => {
    document.title = account === undefined ? t.app.name : `${account.name} – ${t.app.name}`;
  }, [account, t]);
  useShortcut('Escape', () => {
    if (editor.editing === null) void navigate('/accounts');
  });

  if (query.isError && (account === undefined || isGone(query.error))) {
    return isGone(query.error) ? (
      <Empty icon="building" title={t.record.gone} help={t.record.goneHelp}>
        <Button variant="default" onClick={() => void navigate('/accounts')}>
          {t.record.back}
        </Button>
      </Empty>
    ) : (
      <Problem error={query.error} retry={() => void query.refetch()} />
    );
  }

  const facts: string[] = [];
  if (account?.accountnumber) facts.push(account.accountnumber);
  if (account && account.customertypecode !== null) facts.push(optionLabel(t, 'account', 'customertypecode', account.customertypecode));
  if (account?.address1_city) facts.push(account.address1_city);
  return (
    <>
      <RecordHead back={{ to: '/accounts', label: t.record.back }} title={account?.name ?? null} facts={facts} saved={lastCreated(saved)}>
        {mayWrite && account !== undefined && (
          <>
            <Button variant="default" leftSection={<Icon name="plus" size={16} />} onClick={add.open}>
              {t.contacts.new}
            </Button>
            {editor.editing === null && (
              <Button leftSection={<Icon name="pen" size={16} />} onClick={() => editor.begin(null)} aria-keyshortcuts="e">
                {t.record.edit}
              </Button>
            )}
          </>
        )}
      </RecordHead>
      <div className={styles['columns']}>
        <div className={styles['column']}>
          <RecordCard spec={accountSpec} id={id} record={account} editor={editor} mayWrite={mayWrite} />
          <RelatedTabs account={id} mayWrite={mayWrite} onNewContact={add.open} />
        </div>
        <Timeline set="accounts" entity="account" id={id} label={account?.name ?? ''} mayWrite={mayWrite} />
      </div>
      <NewContact opened={adding} onClose={add.close} account={id} />
    </>
  );
}

export function isGone(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 404 || error.code === 'key.malformed');
}
