import { Button, Tabs } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import { Link } from 'react-router-dom';
import type { Contact, Incident } from '../../api/entities';
import { fates } from '../../api/fates';
import { queries } from '../../api/queries';
import { Icon } from '../../components/icon';
import { Tile } from '../../components/tile';
import { optionLabel, useTexts } from '../../i18n';
import { OrderTable } from '../orders/order_table';
import { ShipmentTable } from '../orders/shipment_table';
import { FateMark } from '../sync/fate_mark';
import { RelatedList } from './related_list';
import styles from './related.module.css';

interface Props {
  account: string;
  mayWrite: boolean;
  onNewContact: () => void;
}

// What belongs to an account. Contacts, orders and cases are read with the page, so that their numbers stand on the tabs.
export function RelatedTabs({ account, mayWrite, onNewContact }: Props) {
  const { t, format } = useTexts();
  const contacts = useInfiniteQuery(queries.contactsOf(account));
  const orders = useInfiniteQuery(queries.ordersOf(account));
  const cases = useInfiniteQuery(queries.casesOf(account));
  const number = (n: number | null | undefined) => (n ? <span className={`numbers ${styles['number']}`}>{format.number(n)}</span> : null);
  return (
    <section className={`card ${styles['card']}`}>
      <Tabs defaultValue="contacts" keepMounted={false}>
        <Tabs.List className={styles['tabs'] ?? ''}>
          <Tabs.Tab value="contacts" leftSection={<Icon name="people" size={16} />} rightSection={number(contacts.data?.pages[0]?.count)}>
            {t.contacts.title}
          </Tabs.Tab>
          <Tabs.Tab value="orders" leftSection={<Icon name="box" size={16} />} rightSection={number(orders.data?.pages[0]?.count)}>
            {t.orders.title}
          </Tabs.Tab>
          <Tabs.Tab value="shipments" leftSection={<Icon name="truck" size={16} />}>
            {t.shipments.title}
          </Tabs.Tab>
          <Tabs.Tab value="cases" leftSection={<Icon name="chat" size={16} />} rightSection={number(cases.data?.pages[0]?.count)}>
            {t.cases.title}
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="contacts" className={styles['panel'] ?? ''}>
          <RelatedList
            query={contacts}
            empty={{ icon: 'people', title: t.contacts.none, help: t.contacts.noneHelp }}
            action={
              mayWrite && (
                <Button variant="light" onClick={onNewContact}>
                  {t.contacts.new}
                </Button>
              )
            }
          >
            {(rows) => rows.map((contact) => <ContactRow key={contact.contactid} contact={contact} />)}
          </RelatedList>
        </Tabs.Panel>
        <Tabs.Panel value="orders" className={styles['panel'] ?? ''}>
          <RelatedList query={orders} empty={{ icon: 'box', title: t.orders.none, help: t.orders.noneHelp }}>
            {(rows) => <OrderTable orders={rows} />}
          </RelatedList>
        </Tabs.Panel>
        <Tabs.Panel value="shipments" className={styles['panel'] ?? ''}>
          <RelatedList
            query={orders}
            empty={{ icon: 'truck', title: t.shipments.none, help: t.shipments.noneHelp }}
            isEmpty={(rows) => rows.every((order) => order.salesorder_shipments.length === 0)}
          >
            {(rows) => <ShipmentTable orders={rows} />}
          </RelatedList>
        </Tabs.Panel>
        <Tabs.Panel value="cases" className={styles['panel'] ?? ''}>
          <RelatedList query={cases} empty={{ icon: 'chat', title: t.cases.none, help: t.cases.noneHelp }}>
            {(rows) => <CaseTable cases={rows} />}
          </RelatedList>
        </Tabs.Panel>
      </Tabs>
    </section>
  );
}

function ContactRow({ contact }: { contact: Contact }) {
  const saved = useSyncExternalStore(fates.subscribe, fates.all);
  const name = contact.fullname ?? '';
  return (
    <Link to={`/contacts/${contact.contactid}`} className={styles['contact'] ?? ''}>
      <Tile name={name} size={38} round />
      <span className={styles['who']}>
        <strong>{name}</strong>
        <span className="quiet">{contact.jobtitle}</span>
      </span>
      <FateMark saved={saved.findLast((s) => s.record === contact.contactid)} short />
      <span className="quiet">{contact.telephone1 ?? contact.mobilephone}</span>
      <span className="quiet">{contact.emailaddress1}</span>
    </Link>
  );
}

function CaseTable({ cases }: { cases: Incident[] }) {
  const { t, format } = useTexts();
  return (
    <table className={styles['table']} aria-label={t.cases.title}>
      <thead>
        <tr>
          <th scope="col">{t.cases.subject}</th>
          <th scope="col">{t.cases.status}</th>
          <th scope="col">{t.cases.priority}</th>
          <th scope="col">{t.cases.opened}</th>
        </tr>
      </thead>
      <tbody>
        {cases.map((incident) => (
          <tr key={incident.incidentid}>
            <td>
              <strong>{incident.title}</strong> <span className="faint">{incident.ticketnumber}</span>
            </td>
            <td>{incident.statecode !== null && optionLabel(t, 'incident', 'statecode', incident.statecode)}</td>
            <td>{incident.prioritycode !== null && optionLabel(t, 'incident', 'prioritycode', incident.prioritycode)}</td>
            <td className="quiet numbers">{format.moment(incident.createdon)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
