import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { useNavigate, useParams } from 'react-router-dom';
import type { Contact } from '../../api/entities';
import { formatted } from '../../api/odata';
import { queries } from '../../api/queries';
import { Icon } from '../../components/icon';
import { Empty, Problem } from '../../components/states';
import { useTexts } from '../../i18n';
import { useShortcut } from '../../lib/use_shortcut';
import { contactSpec } from '../record/field_spec';
import { RecordCard } from '../record/record_card';
import { RecordHead } from '../record/record_head';
import { useRecordEditor } from '../record/use_record_editor';
import { lastCreated, useSaved } from '../sync/fate_mark';
import { Timeline } from '../timeline/timeline';
import { isGone } from './account_page';
import styles from './account_page.module.css';

export function ContactPage() {
  const { id = '' } = useParams();
  return <OneContact key={id} id={id} />;
}

function OneContact({ id }: { id: string }) {
  const { t } = useTexts();
  const navigate = useNavigate();
  const query = useQuery(queries.record<Contact>('contacts', id));
  const me = useQuery(queries.me());
  const contact = query.data;
  const name = contact === undefined ? null : (contact.fullname ?? '');
  const editor = useRecordEditor<Contact>(contactSpec, id, contact, name ?? '');
  const saved = useSaved('contacts', id);
  const mayWrite = me.data?.MayWrite !== false;
  const account = contact?._parentcustomerid_value ?? null;
  const company = contact === undefined ? null : formatted(contact, '_parentcustomerid_value');
  const back = account === null ? { to: '/accounts', label: t.record.back } : { to: `/accounts/${account}`, label: company ?? t.contacts.back };

  useEffect(() => {
    document.title = name === null ? t.app.name : `${name} – ${t.app.name}`;
  }, [name, t]);
  useShortcut('Escape', () => {
    if (editor.editing === null) void navigate(back.to);
  });

  if (query.isError && (contact === undefined || isGone(query.error))) {
    return isGone(query.error) ? (
      <Empty icon="person" title={t.record.gone} help={t.record.goneHelp}>
        <Button variant="default" onClick={() => void navigate('/accounts')}>
          {t.record.back}
        </Button>
      </Empty>
    ) : (
      <Problem error={query.error} retry={() => void query.refetch()} />
    );
  }
  return (
    <>
      <RecordHead
        back={back}
        title={name}
        facts={[contact?.jobtitle, company].filter((fact): fact is string => typeof fact === 'string' && fact !== '')}
        saved={lastCreated(saved)}
        round
      >
        {mayWrite && contact !== undefined && editor.editing === null && (
          <Button leftSection={<Icon name="pen" size={16} />} onClick={() => editor.begin(null)} aria-keyshortcuts="e">
            {t.record.edit}
          </Button>
        )}
      </RecordHead>
      <div className={styles['columns']}>
        <RecordCard spec={contactSpec} id={id} record={contact} editor={editor} mayWrite={mayWrite} />
        <Timeline set="contacts" entity="contact" id={id} label={name ?? ''} mayWrite={mayWrite} />
      </div>
    </>
  );
}
