// Which fields a form shows, in which order and how they are entered.
import type { Messages } from '../../i18n/en';

export type FieldKind = 'text' | 'multiline' | 'phone' | 'email' | 'url' | 'money' | 'integer' | 'option' | 'date' | 'tags';

export interface FieldSpec {
  name: string;
  kind: FieldKind;
  required?: true;
  wide?: true;
}

export interface FieldGroup {
  title: keyof Messages['record']['groups'];
  fields: readonly FieldSpec[];
}

export interface RecordSpec {
  set: string;
  entity: string;
  groups: readonly FieldGroup[];
}

export const accountSpec: RecordSpec = {
  set: 'accounts',
  entity: 'account',
  groups: [
    {
      title: 'contact',
      fields: [
        { name: 'name', kind: 'text', required: true },
        { name: 'accountnumber', kind: 'text' },
        { name: 'telephone1', kind: 'phone' },
        { name: 'telephone2', kind: 'phone' },
        { name: 'emailaddress1', kind: 'email' },
        { name: 'websiteurl', kind: 'url' },
      ],
    },
    {
      title: 'address',
      fields: [
        { name: 'address1_line1', kind: 'text' },
        { name: 'address1_line2', kind: 'text' },
        { name: 'address1_postalcode', kind: 'text' },
        { name: 'address1_city', kind: 'text' },
        { name: 'address1_stateorprovince', kind: 'text' },
        { name: 'address1_country', kind: 'text' },
      ],
    },
    {
      title: 'business',
      fields: [
        { name: 'customertypecode', kind: 'option' },
        { name: 'numberofemployees', kind: 'integer' },
        { name: 'revenue', kind: 'money' },
        { name: 'creditlimit', kind: 'money' },
      ],
    },
    {
      title: 'about',
      fields: [
        { name: 'tags', kind: 'tags', wide: true },
        { name: 'description', kind: 'multiline', wide: true },
      ],
    },
  ],
};

export const contactSpec: RecordSpec = {
  set: 'contacts',
  entity: 'contact',
  groups: [
    {
      title: 'person',
      fields: [
        { name: 'firstname', kind: 'text' },
        { name: 'lastname', kind: 'text', required: true },
        { name: 'jobtitle', kind: 'text' },
        { name: 'birthdate', kind: 'date' },
      ],
    },
    {
      title: 'contact',
      fields: [
        { name: 'telephone1', kind: 'phone' },
        { name: 'mobilephone', kind: 'phone' },
        { name: 'emailaddress1', kind: 'email' },
        { name: 'preferredcontactmethodcode', kind: 'option' },
      ],
    },
    {
      title: 'address',
      fields: [
        { name: 'address1_line1', kind: 'text' },
        { name: 'address1_postalcode', kind: 'text' },
        { name: 'address1_city', kind: 'text' },
        { name: 'address1_country', kind: 'text' },
      ],
    },
    {
      title: 'about',
      fields: [
        { name: 'tags', kind: 'tags', wide: true },
        { name: 'description', kind: 'multiline', wide: true },
      ],
    },
  ],
};

export function fieldsOf(spec: RecordSpec): FieldSpec[] {
  return spec.groups.flatMap((group) => [...group.fields]);
}
