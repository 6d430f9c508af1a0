// The records that the app shows, as far as it shows them (common/schema/crm.yaml has them whole).
import type { Stored } from './odata';

export interface Account extends Stored {
  accountid: string;
  name: string;
  accountnumber: string | null;
  telephone1: string | null;
  emailaddress1: string | null;
  address1_city: string | null;
  address1_country: string | null;
  customertypecode: number | null;
  createdon: string;
  modifiedon: string;
}

export interface Contact extends Stored {
  contactid: string;
  fullname: string | null;
  jobtitle: string | null;
  telephone1: string | null;
  mobilephone: string | null;
  emailaddress1: string | null;
  _parentcustomerid_value: string | null;
}

export interface OrderLine extends Stored {
  salesorderdetailid: string;
  productdescription: string | null;
  quantity: number | null;
  priceperunit: number | null;
  manualdiscountamount: number | null;
  extendedamount: number | null;
}

export interface Shipment extends Stored {
  shipmentid: string;
  shipmentnumber: string;
  promiseddate: string | null;
  shippeddate: string | null;
  delivereddate: string | null;
  late: boolean | null;
  carriername: string | null;
  trackingnumber: string | null;
  shippingmethodcode: number | null;
  statuscode: number | null;
}

export interface Order extends Stored {
  salesorderid: string;
  name: string | null;
  ordernumber: string | null;
  orderdate: string | null;
  shippingmethodcode: number | null;
  totalamount: number | null;
  statecode: number | null;
  order_details: OrderLine[];
  salesorder_shipments: Shipment[];
}

export interface Incident extends Stored {
  incidentid: string;
  title: string;
  ticketnumber: string | null;
  prioritycode: number | null;
  statecode: number | null;
  createdon: string;
}

export interface Note extends Stored {
  annotationid: string;
  subject: string | null;
  notetext: string | null;
  createdon: string;
  _createdby_value: string | null;
}

export interface Activity extends Stored {
  activityid: string;
  activitytypecode: number;
  subject: string;
  description: string | null;
  createdon: string;
  _createdby_value: string | null;
}

export interface User extends Stored {
  systemuserid: string;
  fullname: string;
}

// WhoAmI().
export interface Me {
  UserId: string;
  FullName: string;
  Server: string;
  Administrator: boolean;
  MayWrite: boolean;
}
