import { Fragment, useState } from 'react';
import type { Order, OrderLine } from '../../api/entities';
import { Icon } from '../../components/icon';
import { optionLabel, useTexts } from '../../i18n';
import styles from '../accounts/related.module.css';

const kFulfilled = 3;
const kInvoiced = 4;
const kCanceled = 2;

export function orderMood(state: number | null): 'good' | 'bad' | undefined {
  if (state === kFulfilled || state === kInvoiced) return 'good';
  return state === kCanceled ? 'bad' : undefined;
}

export function OrderTable({ orders }: { orders: Order[] }) {
  const { t, format } = useTexts();
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());

  function toggle(id: string) {
    const next = new Set(open);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
  }

  return (
    <table className={styles['table']} aria-label={t.orders.title}>
      <thead>
        <tr>
          <th scope="col">{t.orders.number}</th>
          <th scope="col">{t.orders.date}</th>
          <th scope="col">{t.orders.status}</th>
          <th scope="col">{t.orders.method}</th>
          <th scope="col" data-right>
            {t.orders.total}
          </th>
        </tr>
      </thead>
      <tbody>
        {orders.map((order) => {
          const name = order.ordernumber ?? order.name ?? '–';
          const shown = open.has(order.salesorderid);
          return (
            <Fragment key={order.salesorderid}>
              <tr>
                <td>
                  <button
                    type="button"
                    className={styles['open']}
                    aria-expanded={shown}
                    aria-label={t.orders.showLines(name)}
                    onClick={() => toggle(order.salesorderid)}
                  >
                    <Icon name="right" size={15} />
                    <span>{name}</span>
                  </button>
                </td>
                <td>{order.orderdate !== null && format.date(order.orderdate)}</td>
                <td>
                  {order.statecode !== null && (
                    <span className={styles['chip']} data-mood={orderMood(order.statecode)}>
                      {optionLabel(t, 'salesorder', 'statecode', order.statecode)}
                    </span>
                  )}
                </td>
                <td className="quiet">
                  {order.shippingmethodcode !== null && optionLabel(t, 'salesorder', 'shippingmethodcode', order.shippingmethodcode)}
                </td>
                <td className="numbers" data-right>
                  {order.totalamount !== null && format.money(order.totalamount)}
                </td>
              </tr>
              {shown && (
                <tr>
                  <td colSpan={5} className={styles['inside']}>
                    <Lines lines={order.order_details} />
                  </td>
                </tr>
              )}
            </Fragment>
          );
        })}
      </tbody>
    </table>
  );
}

function Lines({ lines }: { lines: OrderLine[] }) {
  const { t, format } = useTexts();
  if (lines.length === 0) return <span className="quiet">{t.orders.noLines}</span>;
  const money = (value: number | null) => (value === null ? '' : format.money(value));
  return (
    <table className={styles['lines']} aria-label={t.orders.lines}>
      <thead>
        <tr>
          <th scope="col">{t.orders.product}</th>
          <th scope="col" data-right>{t.orders.quantity}</th>
          <th scope="col" data-right>{t.orders.price}</th>
          <th scope="col" data-right>{t.orders.discount}</th>
          <th scope="col" data-right>{t.orders.amount}</th>
        </tr>
      </thead>
      <tbody>
        {lines.map((line) => (
          <tr key={line.salesorderdetailid}>
            <td>{line.productdescription}</td>
            <td className="numbers" data-right>{line.quantity !== null && format.number(line.quantity)}</td>
            <td className="numbers" data-right>{money(line.priceperunit)}</td>
            <td className="numbers" data-right>{line.manualdiscountamount ? money(line.manualdiscountamount) : ''}</td>
            <td className="numbers" data-right>{money(line.extendedamount)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
