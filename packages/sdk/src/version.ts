/** Version of this package; stands in the meta of every record, so that a fault can be traced to it. */
export const SDK_VERSION = '0.1.0';
