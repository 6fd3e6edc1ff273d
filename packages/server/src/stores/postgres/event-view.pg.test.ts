import { describeEventView } from '../../../contract/event-view-contract.ts';
import { openEventViewScene } from '../../../test/event-view-scene.ts';

describeEventView('PostgreSQL', openEventViewScene);
