import type { Order } from '../../api/entities';
import { optionLabel, useTexts } from '../../i18n';
import styles from '../accounts/related.module.css';

const kDelivered = 3;
const kWrongItem = 4;
const kDamaged = 5;

export function ShipmentTable({ orders }: { orders: Order[] }) {
  const { t, format } = useTexts();
  const day = (value: string | null) => (value === null ? <span className="faint">–</span> : format.date(value));
  const mood = (status: number | null) => (status === kDelivered ? 'good' : status === kWrongItem || status === kDamaged ? 'bad' : undefined);
  return (
    <table className={styles['table']} aria-label={t.shipments.title}>
      <thead>
        <tr>
          <th scope="col">{t.shipments.number}</th>
          <th scope="col">{t.shipments.order}</th>
          <th scope="col">{t.orders.status}</th>
          <th scope="col">{t.shipments.promised}</th>
          <th scope="col">{t.shipments.shipped}</th>
          <th scope="col">{t.shipments.delivered}</th>
        </tr>
      </thead>
      <tbody>
        {orders.flatMap((order) =>
          order.salesorder_shipments.map((shipment) => (
            <tr key={shipment.shipmentid}>
              <td>
                <strong>{shipment.shipmentnumber}</strong>
              </td>
              <td className="quiet">{order.ordernumber ?? order.name}</td>
              <td>
                {shipment.statuscode !== null && (
                  <span className={styles['chip']} data-mood={mood(shipment.statuscode)}>
                    {optionLabel(t, 'shipment', 'statuscode', shipment.statuscode)}
                  </span>
                )}{' '}
                {shipment.late === true && (
                  <span className={styles['chip']} data-mood="bad">
                    {t.shipments.late}
                  </span>
                )}
              </td>
              <td>{day(shipment.promiseddate)}</td>
              <td>{day(shipment.shippeddate)}</td>
              <td>{day(shipment.delivereddate)}</td>
            </tr>
          )),
        )}
      </tbody>
    </table>
  );
}
