import { Button, Modal, Select } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent, type ReactNode } from 'react';
import { useNavigate } from 'react-router-dom';
import { fates } from '../../api/fates';
import type { Account, Contact } from '../../api/entities';
import { wrote } from '../../api/live';
import { createRecord, type FieldValue, type Stored } from '../../api/odata';
import { queries } from '../../api/queries';
import { Icon } from '../../components/icon';
import { errorText } from '../../components/states';
import { fieldLabel, useTexts } from '../../i18n';
import { randomKey } from '../../lib/random';
import { FieldInput } from './field_input';
import type { FieldSpec } from './field_spec';
import styles from './new_record.module.css';
import { changesOf, type Draft } from './values';

const kAccountFields: readonly FieldSpec[] = [
  { name: 'name', kind: 'text', required: true, wide: true },
  { name: 'accountnumber', kind: 'text' },
  { name: 'customertypecode', kind: 'option' },
  { name: 'telephone1', kind: 'phone' },
  { name: 'emailaddress1', kind: 'email' },
  { name: 'address1_city', kind: 'text' },
  { name: 'address1_country', kind: 'text' },
];

const kContactFields: readonly FieldSpec[] = [
  { name: 'firstname', kind: 'text' },
  { name: 'lastname', kind: 'text', required: true },
  { name: 'jobtitle', kind: 'text', wide: true },
  { name: 'telephone1', kind: 'phone' },
  { name: 'mobilephone', kind: 'phone' },
  { name: 'emailaddress1', kind: 'email', wide: true },
];

interface Dialog {
  opened: boolean;
  onClose: () => void;
}

export function NewAccount({ opened, onClose }: Dialog) {
  const { t } = useTexts();
  const navigate = useNavigate();
  const status = useQuery(queries.status());
  const territories = status.data?.territories ?? [];
  const [territory, setTerritory] = useState<string | null>(null);
  // An office of one territory needs not say which.
  const several = territories.length > 1;
  const chosen = territory ?? territories[0];
  return (
    <Modal opened={opened} onClose={onClose} title={t.list.new} size="lg" centered>
      <NewForm<Account>
        set="accounts"
        entity="account"
        fields={kAccountFields}
        extra={several && chosen !== undefined ? { 'Branchline.territory': chosen } : {}}
        label={(account) => account.name}
        id={(account) => account.accountid}
        onClose={onClose}
        onCreated={(account) => void navigate(`/accounts/${account.accountid}`)}
      >
        {several && (
          <Select
            label={fieldLabel(t, 'account', 'territory')}
            data={territories}
            value={chosen ?? null}
            onChange={setTerritory}
            allowDeselect={false}
            className={styles['wide'] ?? ''}
          />
        )}
      </NewForm>
    </Modal>
  );
}

export function NewContact({ opened, onClose, account }: Dialog & { account: string }) {
  const { t } = useTexts();
  return (
    <Modal opened={opened} onClose={onClose} title={t.contacts.new} size="lg" centered>
      <NewForm<Contact>
        set="contacts"
        entity="contact"
        fields={kContactFields}
        extra={{ 'parentcustomerid@odata.bind': `/accounts(${account})` }}
        label={(contact) => contact.fullname ?? ''}
        id={(contact) => contact.contactid}
        onClose={onClose}
        onCreated={onClose}
      />
    </Modal>
  );
}

interface FormProps<T extends Stored> {
  set: string;
  entity: string;
  fields: readonly FieldSpec[];
  extra: Readonly<Record<string, string>>;
  label: (record: T) => string;
  id: (record: T) => string;
  onClose: () => void;
  onCreated: (record: T) => void;
  children?: ReactNode;
}

function NewForm<T extends Stored>({ set, entity, fields, extra, label, id, onClose, onCreated, children }: FormProps<T>) {
  const { t } = useTexts();
  const client = useQueryClient();
  const [draft, setDraft] = useState<Draft>({});
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  // What was asked under the key, so that the same wish asked again is not a second record.
  const [asked, setAsked] = useState<{ key: string; body: string } | null>(null);

  async function submit(event: FormEvent) {
    event.preventDefault();
    const values = changesOf(null, draft);
    const missing = fields.find((f) => f.required && values[f.name] === undefined);
    if (missing !== undefined) {
      setProblem(t.record.required(fieldLabel(t, entity, missing.name)));
      return;
    }
    const wish = { ...values, ...extra };
    const body = JSON.stringify(wish);
    const key = asked?.body === body ? asked.key : randomKey();
    setAsked({ key, body });
    setBusy(true);
    setProblem(null);
    try {
      const { record, mutation } = await createRecord<T>(set, wish, key);
      client.setQueryData(['record', set, id(record)], record);
      if (mutation !== null) {
        fates.follow({ mutation, set, record: id(record), label: label(record), fields: [] });
      }
      wrote(client, set, id(record));
      onCreated(record);
    } catch (error) {
      setProblem(errorText(t, error));
      setBusy(false);
    }
  }

  return (
    <form onSubmit={submit} noValidate>
      <div className={styles['fields']}>
        {fields.map((field, at) => (
          <div key={field.name} className={field.wide ? styles['wide'] : undefined}>
            <FieldInput
              entity={entity}
              spec={field}
              value={draft[field.name] ?? null}
              onChange={(value: FieldValue) => setDraft((now) => ({ ...now, [field.name]: value }))}
              focus={at === 0}
            />
          </div>
        ))}
        {children}
      </div>
      <div className={styles['bar']}>
        {problem !== null && (
          <p role="alert">
            <Icon name="warning" size={16} /> {problem}
          </p>
        )}
        <Button variant="default" onClick={onClose}>
          {t.record.cancel}
        </Button>
        <Button type="submit" loading={busy}>
          {t.record.save}
        </Button>
      </div>
    </form>
  );
}
