# Every text in English, in the format of Project Fluent (https://projectfluent.org/fluent/guide).
#
# To add a language, copy this file to `<language>.ftl`, named by its code of BCP 47, and translate what stands after
# each `=`. Values in braces stay as they are, in any order. BONGSU_LANGUAGES then names it. docs/translate.md has more.

## The language itself

languageName = English
# Shown to those who read another language.
viewInThis = View in English

## The page. It gives values in the order in which the English text first names them.

skip = Skip to the alerts
brand = Bongsu
brandAlso = 봉수
title = Bongsu: live alerts
views = Views
viewMap = Map
viewFeed = Feed
viewRelay = Relay
viewDrive = Drive
filters = Filters
hazards = Hazards
spans = Time
moreFilters = More filters
hour = 1 hour
day = 24 hours
week = 7 days
all = All
range = Range
rangeFrom = From
rangeTo = To
rangeWrong = The range must begin before it ends.
status = Status
any = Any status
open = Ongoing
closed = Over
acknowledged = Acknowledged
false_alarm = False alarms
held = Held for review
area = In this map view
reset = Show all
hidden = { $n } hidden by filters
other = Alert
mapArea = Map of alerts
feedTitle = Alerts
subscribe = Subscribe
subscribeTo = Subscribe to the alerts
feedAtom = Atom feed
feedJson = JSON Feed
feedCap = CAP 1.2 alerts
feedGeo = GeoJSON
count = { $n ->
    [one] { $n } alert
   *[other] { $n } alerts
}
older = Older alerts
olderFailed = Older alerts could not be loaded. Try again.
quiet = All quiet
watching = { $n ->
    [one] { $n } camera is watching. When it sees a hazard, it appears here by itself.
   *[other] { $n } cameras are watching. When one sees a hazard, it appears here by itself.
}
nobodyWatching = No camera has reported yet. Cameras are listed in cameras.yaml.
noMatch = Nothing matches these filters
noMatchHint = Widen the time or the area, or show everything.
waitingFeed = Loading …
connecting = Connecting
live = Live
lost = Connection lost, retrying
lostSince = No connection since { $at }, retrying
locked = Key needed
theme = Theme: { $name }
themeAuto = as the system
themeLight = light
themeDark = dark
camera = Camera
firstSeen = First seen
lastSeen = Last seen
confidence = Confidence
sightings = Sightings
pinTime = Camera to map
seconds = { $s } s
milliseconds = { $s } ms
close = Close
previous = Newer alert
next = Older alert
enlarge = Enlarge the picture
loneCaption = No description yet.
noPicture = No picture to show
pictureNote = Faces are mosaicked
alsoHere = Also at this place
pictureOf = Camera picture: { $what }, { $where }
locationOf = Map of { $where }
copyLink = Copy link
copied = Link copied
copyFailed = The link could not be copied: copy it from the address bar.
capAlert = CAP
late = Published late
lateWhy = The message broker was unreachable when this was seen, so it was published late.
tagFalse = False alarm
tagAcknowledged = Acknowledged
tagHeld = Held for review
heldWhy = A second opinion did not confirm this, so its alert waits for an operator.
heldDecide = A second opinion did not confirm this. Publish the alert, or reject it as a false alarm.
reviewedBy = { $what } by { $who }, { $when }
takeBack = Take back
acknowledge = Acknowledge
release = Publish
markFalse = False alarm …
confirmFalse = Mark as false alarm
cancel = Cancel
note = Note (optional)
noteHint = What was it instead?
signInToReview = Sign in to review
reviewTitle = Review
reviewFailed = Not saved: { $why }
signIn = Sign in
signOut = Sign out
signedInAs = { $name }, { $role }
viewer = viewer
operator = operator
node = edge node
videosTitle = Video, with faces covered
clipsTitle = Clips
clipCount = { $n ->
    [one] One sealed clip.
   *[other] { $n } sealed clips.
}
clipKey = Choose the file of the private key to play them. It stays in this tab.
clipPlay = { $when }, { $seconds } s
clipSave = Save the video
clipWrongKey = This file is not a private key of `bongsu originals keygen`.
clipOtherKey = This clip was sealed for another key, or altered. Choose another key.
clipOldBrowser = This browser is too old to open clips. Use `bongsu originals decrypt`.
clipInsecure = Clips are sealed. Open this page by https to play them, or use `bongsu originals decrypt`.
clipCodec = This browser cannot play the video, perhaps as it is H.265. Save it, and play it elsewhere.
clipFailed = The clips could not be loaded: { $why }
key = Key
keyHint = An operator's key lets you acknowledge alerts and mark false alarms.
keyNeeded = This map is read with a key. Ask its operator for one.
keyWrong = This key is not known here.
keyTooMany = Too many tries. Wait a minute.
signInFailed = Signing in did not work. Try again.
stageTitle = From camera to map
stage = { $name }: { $took }, begun after { $from }
pin = { $what }, { $where }, { $when }
pins = { $n } alerts here
cluster = { $n } alerts close together ({ $kinds }), zoom in
announce = New alert: { $what }, { $where }
announceMany = { $n } new alerts: { $kinds }
relayTitle = The relay
relayNote = Each beacon is a function. It wakes when messages wait for it, and sleeps when they are done.
showRelay = Show the relay
hideRelay = Hide the relay
pinMedian = camera to map { $s }
cameras = Cameras
motion = Motion
alwaysOn = always on
camerasLive = { $n } live
camerasLost = { $n } lost
cameraLive = live
cameraLost = lost
cameraUnknown = not heard yet
noCameras = No cameras yet.
cameraPicture = Last mosaicked picture of { $where }
detect = Detect
map = Map
caption = Caption
post = Post
asleep = asleep
replicas = { $n } of { $max } awake
waiting = { $n } waiting
dead = { $n ->
    [one] { $n } dead letter
   *[other] { $n } dead letters
}
starting = waking
noPipeline = No word from the relay yet.
lastMinutes = last { $n } min
legendReplicas = replicas
legendWaiting = messages waiting
took = takes { $s }
functionState = { $name }: { $n } of at most { $max } replicas, { $waiting } messages waiting
viewNodes = Nodes
nodesTitle = Nodes
nodesCount = { $n ->
    [one] { $n } node
   *[other] { $n } nodes
}
nodesAllWell = all well
nodesBad = { $n ->
    [one] { $n } needs attention
   *[other] { $n } need attention
}
nodesNone = No node is registered yet: bongsu nodes add.
node_ok = well
node_warning = needs attention
node_down = does not answer
node_drained = drained
node_revoked = revoked
node_unknown = not asked yet
alert_NodeHot = Hotter than 85 °C
alert_NodeDiskFull = Less than a tenth of the disk is free
alert_NodeClockWrong = The clock is wrong
nodeHere = this machine
nodeCpus = { $n ->
    [one] { $n } CPU
   *[other] { $n } CPUs
}
nodeCpu = CPU
nodeMemory = Memory
nodeDisk = Disk
nodeGpu = GPU
nodeTemperature = { $c } °C
nodeLatency = answers in { $s }
nodeDrift = clock off by { $s }
nodeSampled = asked { $when }
nodeNotSampled = not asked yet
nodeAbout = drawn in the middle of its cameras
nodesModels = Models
modelVersion = Version
modelNodes = Runs on
modelSize = Size
modelSignature = Signature
modelScores = Scores
modelSigned = signed
modelUnsigned = not signed
modelNowhere = no node
nodesRunning = Under way
nodesPast = Last deployments
deployTo = Deployment of { $model } { $version }
deployBack = { $model } rolled back to { $version }
deployBefore = { $model } rolled back to the version before
deploy_running = under way
deploy_done = done
deploy_failed = failed
deploy_interrupted = interrupted
deployBy = by { $who }
deployBytes = { $done } of { $all }
progress_waiting = waiting
progress_connecting = connecting
progress_pulling = pulling
progress_in_use = in use
progress_failed = failed
progress_lost = lost
progress_observed = watched
progress_rolled_back = rolled back
deployBursts = { $n } of { $all } bursts
nodesAudit = Who changed what
viewSessions = Sessions
sessionsTitle = Sessions
sessionsNote = A client asks for a model and gets a worker of its own. What does not fit here waits in line, or goes to an upstream server.
sessionsClient = Client
sessionsModel = Model
sessionsWhere = Where
sessionsState = State
sessionsSince = Asked for
sessionsSpeed = Answers
sessionsUsed = { $cores } of { $allCores } cores and { $mb } of { $allMb } MB reserved
sessionsIdle = { $n } idle and ready
sessionsUpstream = upstream { $url }
sessionsUpstreamAway = upstream { $url } does not answer
sessionsEmpty = Nobody has a session now.
where_edge = edge
where_data-centre = data centre
sessionsOffloaded = offloaded
sessionsWaiting = waiting, place { $place }, at most { $s } s
sessionsConnected = connected
sessionsReady = ready, not connected
sessionsUntil = { $ago }, until { $until }
sessionsNoAnswer = none yet
sessionsLatency = { $n }, each in { $p50 } ms (p50), { $p99 } ms (p99)
sessionsDropped = { $n } dropped
sessionsKey = Operator's key
sessionsShow = Show
sessionsKeyNeeded = The list is read with an operator's key.
sessionsOperator = This key is not an operator's: the list is for operators.
sessionsAway = The receive server does not answer. Trying again.
sessionsRefused = The receive server refused: { $why }
trialTitle = Try one
trialNote = Pictures go to a worker of your own, which answers with boxes. It keeps none of them.
trialModel = Model
trialModel_hazard = hazards
trialModel_scene = people and vehicles
trialCamera = Use my camera
trialClip = Play the clip
trialStop = Stop
trialScreen = The last picture, with boxes around what was found
trialIdle = Not running.
trialOpening = Opening …
trialStarting = A worker starts …
trialWaiting = Waiting for a worker: place { $place }, at most { $s } s
trialRunning = Running at the { $where } ({ $node })
trialSpeed = { $rate } pictures a second · { $took } ms from picture to boxes, { $inferred } ms of it in the model
trialLost = Connection lost, resuming …
trialEnded = The session has ended.
trialNoCamera = There is no camera that this page may use.
trialInsecure = a browser lends its camera to pages over HTTPS or from this machine alone
trialElsewhere = there was no room here, and this page may not connect to the upstream server: try again later
trialFailed = It did not work: { $why }
unknownPlace = unknown place
zoomIn = Zoom in
zoomOut = Zoom out
incidentGone = This alert is not on the map.
push = Warn
metres = { $n } m
kilometres = { $n } km
noPosition = Your position could not be found. Allow it in the browser's settings.
warnMe = Warn me
warnOn = Warnings are on
warnHint = Your device shows an alert, even while this page is closed. Only the area and the browser's push address are stored, and no name.
warnWhere = Where
warnAround = Around a place
warnAlong = Along a route
warnMap = Map: touch it to choose where
warnTapPlace = { $n ->
    [0] Touch the map where you want to be warned.
   *[other] Touch elsewhere to move the circle.
}
warnTapRoute = { $n ->
    [0] Touch the map where the route begins, then where it bends, to its end.
    [1] Touch the map where the route begins, then where it bends, to its end.
   *[other] { $n } points.
}
warnRadius = Within
warnWidth = To either side
warnHere = My location
warnUndo = Remove last point
warnQuiet = Quiet hours
warnStart = Warn me
warnChange = Change
warnStop = Stop warnings
warnStarted = You will be warned.
warnStopped = No more warnings.
warnNoHazard = Choose at least one hazard.
warnNoArea = Touch the map to choose where.
warnDenied = Notifications are blocked for this site. Allow them in the browser's settings.
warnFailed = It did not work: { $why }
warn_insecure = Browsers warn only for pages over HTTPS, or on this machine.
warn_install = On an iPhone or iPad, first add this page to the home screen (Share, Add to Home Screen), then open it from there.
warn_unsupported = This browser cannot show warnings.
driveTitle = Driving view
driveNote = Shows and says the nearest hazards ahead, and keeps the screen on. Your position stays on this device. Start it before you drive.
driveStart = Start
driveStop = Stop
driveMute = Mute
driveUnmute = Speak
driveStarted = The driving view is on.
driveLocating = Finding your position …
driveClear = No hazard within { $reach }.
driveMore = { $n } more
ahead = ahead
behind = behind
left = left
right = right
# These are spoken.
spokenMetres = { $n ->
    [one] { $n } metre
   *[other] { $n } metres
}
spokenKilometres = { $n ->
    [one] { $n } kilometre
   *[other] { $n } kilometres
}
driveSay = { $what }, { $far }. { $place }
driveSayAhead = { $what }, { $far } ahead. { $place }

## The page for cameras

setupTitle = Cameras
setupNew = New camera
setupAddress = Address
setupId = Id
setupUrl = Stream
setupUser = User name
setupPassword = Password
setupLook = See its picture
setupKept = As in the file; fill in to change it
setupPicture = Picture
setupDrawMask = Draw a mask
setupDrawZone = Draw a zone
setupDrawing = Click the corners; click the first one again to finish. Escape takes the last corner back.
setupMask = Mask
setupZone = Zone
setupZoneEn = Name in English, as in: the crossing
setupZoneKo = Name in Korean
setupRemove = Remove
setupPlace = Place
setupPlaceName = Name of the place
setupLat = Latitude
setupLon = Longitude
setupPlaceHint = Click the map where the camera stands.
setupGate = Motion
setupSensitivity = Sensitivity
setupTune = Test for 20 seconds
setupSave = Save
setupLooking = Opening the camera …
setupTuning = Watching for motion …
setupSaving = Saving …
setupFacts = { $codec }, { $size }. Faces are mosaicked.
setupFactsWithRate = { $codec }, { $size }, { $fps } pictures a second. Faces are mosaicked.
setupWithheld = The picture was withheld: people in it could not be mosaicked for certain.
setupSaved = { $id } is saved in { $file }. Motion takes it up within seconds.
setupLooks = { $looks } checks: { $outcomes }.
setupLooksAlike = { $looks } checks: nothing differed.
setupCluster = On a cluster cameras.yaml is a ConfigMap: this page opens no camera there. Fill in the form and paste the entry into the overlay's cameras.yaml.
setupSignIn = Sign in with an operator's key to add cameras.
setupFile = Cameras of { $file }
outcome_moving = reported: moving
outcome_standing = reported: standing
outcome_too_small = left out: too small
outcome_seen_once = left out: seen once
outcome_light = left out: light
outcome_overlay = left out: overlay
outcome_sway = left out: swaying
outcome_still = left out: still

## Captions. Sentences are put together from parts; `what` of thing-… begins a sentence about one of them, `of` about some.

caption-site = { $name }, { $region }
caption-camera = camera { $id }
caption-alert = { $headline } at { $site }.
caption-alert-view = { $headline } at { $site }: { $things } in view.
caption-alert-spot = { $headline } at { $site }: { $spot }.
caption-alert-spot-view = { $headline } at { $site }: { $spot }, { $things } in view.
caption-spot = { $subject }{ $where } of the picture
caption-spot-zone = { $subject }near { $zone }, { $where } of the picture
caption-also = Also seen: { $hazards }.
caption-time = { $time }.
# What a second network said of the alert (docs/second-opinion.md).
caption-opinion-yes = A second network sees it too.
caption-opinion-no = A second network did not see it.
caption-opinion-unsure = A second network could not tell.
caption-opinion-missing = Not verified by a second network.
# Two sentences, one after the other.
caption-then = { $text } { $next }
# A list of two or more: the last joint, and each one before it.
list-last = { $list } and { $next }
list-more = { $list }, { $next }
where-left-upper = in the upper left
where-left-middle = on the left
where-left-lower = in the lower left
where-centre-upper = at the top
where-centre-middle = in the middle
where-centre-lower = at the bottom
where-right-upper = in the upper right
where-right-middle = on the right
where-right-lower = in the lower right
thing-person = { $n ->
    [one] { $n } person
   *[other] { $n } people
}
    .what = The person
    .of = Of the people
thing-car = { $n ->
    [one] { $n } car
   *[other] { $n } cars
}
    .what = The car
    .of = Of the cars
thing-truck = { $n ->
    [one] { $n } truck
   *[other] { $n } trucks
}
    .what = The truck
    .of = Of the trucks
thing-bus = { $n ->
    [one] { $n } bus
   *[other] { $n } buses
}
    .what = The bus
    .of = Of the buses
thing-motorcycle = { $n ->
    [one] { $n } motorcycle
   *[other] { $n } motorcycles
}
    .what = The motorcycle
    .of = Of the motorcycles
thing-bicycle = { $n ->
    [one] { $n } bicycle
   *[other] { $n } bicycles
}
    .what = The bicycle
    .of = Of the bicycles
# What the networks disagree on: a car, a truck or a bus.
thing-vehicle = { $n ->
    [one] { $n } vehicle
   *[other] { $n } vehicles
}
    .what = The vehicle
    .of = Of the vehicles
look-person = { $what } is in { $worn }.
look-people = { $of }, { $parts }.
look-people-part = { $n ->
    [one] { $n } is in { $worn }
   *[other] { $n } are in { $worn }
}
look-vehicle = { $what } is { $colour }.
look-vehicles = { $of }, { $parts }.
look-vehicles-part = { $n ->
    [one] { $n } is { $colour }
   *[other] { $n } are { $colour }
}
# What is worn: clothes, something on the head, or both, where the clothes are the beginning of a list.
look-clothes = { $clothes }
look-hat = { $hat }
look-clothes-hat = { $clothes } and { $hat }
clothes-dark-top = a dark top
clothes-long-sleeves = long sleeves
clothes-long-trousers = long trousers
clothes-hat = a hat or helmet
# Silver, cream and light green are seen as white too.
colour-white = light-coloured
colour-gray = grey
colour-yellow = yellow
colour-red = red
colour-green = green
colour-blue = blue
colour-black = black
# The description of a drawn map, for people who cannot see it; `at` is a coordinate.
map-pin = Map with a pin at { $at }.
map-pin-named = Map with a pin at { $where }: { $at }.
map-where = { $name } ({ $region })

## Warnings to phones

push-withdrawn = False alarm
push-withdrawn-body = An operator has checked this alert and withdrawn it.
push-no-caption = A camera has seen it just now.

## Home Assistant

mqtt-snapshot = Snapshot
mqtt-stream = Stream

## Feeds

feed-title = Bongsu alerts
feed-subtitle = { $hazards } seen by cameras. Faces are mosaicked.
feed-map = Where it is

## CAP alerts

cap-unconfirmed = Detected by a camera, not confirmed by a person.
cap-confirmed = Detected by a camera and confirmed by a person.
cap-cancelled = A person looked: it was a false alarm.
cap-picture = Picture, faces mosaicked

## Road feeds. Waze shows about forty characters.

road-unconfirmed = { $event } (camera, unconfirmed)
road-confirmed = { $event } (camera, confirmed)
