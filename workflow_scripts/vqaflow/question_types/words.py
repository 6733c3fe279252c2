"""Words that show what a question asks for, in classes shared by Korean (dictionary forms) and English.

The classes follow the guide of the question types rather than a dictionary: TEXT and VALUE are read from the picture,
SIGN bears text, BUSINESS and PRODUCT have names that only a sign or a label shows, LOOKS has a name that its look
shows, PROPERTY is a property, PLACE a place. A word may be in several classes; one in none has the class OTHER.
"""

from functools import lru_cache

Classes = dict[str, frozenset[str]]
OTHER = frozenset({"OTHER"})
NAME = frozenset({"NAME"})


def _classes(**texts: str) -> Classes:
    return {name: frozenset(text.split()) for name, text in texts.items()}


KOREAN_NOUNS = _classes(
    TEXT="""글자 글씨 글씨체 문구 글귀 글 문장 단어 숫자 메시지 문자 알파벳 한자 영어 영문 한글 제목 타이틀 부제 슬로건
        낙서 서명 표어 구호 명언 가사 자막 대사 텍스트 인사말 경고문 안내문 설명문 공지 공지사항 내용 로고 문의처 소제목
        부제목 주제어 검색어 키워드 이니셜 수칙 규칙 목차 코드 해시태그 프로그래밍 문안 인용구 이름표 명찰 번호판
        주의사항 유의사항 안내사항 준비물""",
    VALUE="""가격 금액 요금 값 정가 할인율 할인 번호 전화번호 비밀번호 등번호 번지 날짜 일자 일시 연도 년도 기간 기한
        시각 시간 유통기한 영업시간 운영시간 용량 도수 점수 스코어 속도 제한 온도 무게 중량 칼로리 주소 홈페이지 이메일
        노선 호선 버전 모델명 기종 원산지 성분 저자 작가 지은이 출판사 제조사 연락처 거리 순위 수치 배터리 잔량 비율
        퍼센트 메뉴 일정 언어 출구 페이지 요일 며칠 유효기간 마감일 개봉일 발행일 출시일 생년월일 입장료 주차료 요율
        환율 수량 총액 잔액 시속 기온 습도 번째 횟수 조회수 학과 부서 직책 직함 담당자 발신자 수신자 도착지 출발지
        목적지 행선지 원재료 함량 영양성분 채널 주파수 효능 효과 사용법 복용법 주의점 아이디 검색량 등급 좌석 호수 회차
        득표율 기록 별점 평점 볼륨 음량 걸음 진료과목 과목 정당 소속 정원 구독자 좋아요 팔로워 배번 학점 점수판 공지일
        마감 이수 수신 발신 체중 몸무게 키워드 사이즈 치수 제조일 제조번호 일련번호""",
    LETTERS="글자 글씨 문구 글귀 문장 단어 숫자 번호 전화번호 제목 텍스트 메시지 알파벳 한자 글 명언 표어 슬로건",
    BOARD="""간판 현수막 배너 안내판 메뉴판 전광판 게시판 칠판 이정표 팻말 푯말 영수증 티켓 입장권 승차권 명함 가격표
        이름표 명찰 번호판 안내문 시간표 전단지 광고판 비석 공지문 경고문 차림표 현판 명판 식단표 순위표 대진표 성적표
        점수판 스코어보드 현황판 차량번호판""",
    SIGN="""간판 현수막 배너 포스터 안내판 메뉴판 전광판 게시판 칠판 화이트보드 영수증 티켓 입장권 승차권 명함 신문 책
        라벨 스티커 화면 모니터 광고 광고판 이정표 팻말 푯말 비석 기념비 종이 안내도 지도 달력 노선도 쪽지 메모 메모지
        엽서 편지 문서 서류 증명서 상장 자격증 가격표 전단지 팸플릿 브로슈어 잡지 책자 교재 노트 슬라이드 스크린
        키오스크 계기판 봉투 포장지 시간표 시험지 안내문 강의 승강장 정류장""",
    TRAFFICSIGN="표지판 교통표지판 도로표지판 표지 신호 표식 픽토그램 아이콘 기호",
    NAME="이름 명칭 명 성함 호칭 상호명 상호 지명 도로명 역명 상품명 제품명 작품명 건물명 가게명 식당명 매장명 별명",
    BRAND="브랜드 상표 메이커 제조사 회사 기업 업체 상호 프랜차이즈 체인점 체인 통신사 은행 방송사 항공사 구단",
    BUSINESS="""가게 상점 매장 식당 음식점 카페 커피숍 호텔 모텔 펜션 리조트 서점 책방 마트 슈퍼 슈퍼마켓 편의점 백화점
        병원 의원 은행 학교 대학교 대학 초등학교 중학교 고등학교 유치원 학원 역 기차역 지하철역 정류장 정거장 터미널
        공항 아파트 단지 빌라 빌딩 상가 시장 거리 도로 길 골목 술집 주점 베이커리 빵집 제과점 미용실 약국 주유소 센터
        기관 단체 동아리 팀 부스 축제 행사 전시 전시회 공연 콘서트 대회 프로그램 영화 드라마 뮤지컬 노래 앨범 책 도서
        소설 잡지 강의 수업 학과 부서 연구소 기업 채널 방송 유튜브 영상 배 선박 여객선 업소 업체 휴게소 캠핑장 골프장
        스키장 수영장 영화제 박람회 세미나 워크숍 동호회 재단 협회 위원회 교실 강의실 회의실 사무실 지점 점포 경찰서
        소방서 회관 체육관 도서관 박물관 미술관 기념관 극장 영화관 교회 아카데미 앱 사이트 캠페인 치킨집 고깃집 분식집
        관광지 공단 공사 부처 지구대 파출소 구청 시청 주민센터 행정복지센터 투표소 법원 우체국 정당 밴드 음반""",
    PRODUCT="""음료 음료수 과자 술 맥주 소주 와인 위스키 막걸리 주류 커피 우유 생수 물 라면 컵라면 아이스크림 화장품
        샴푸 치약 약 의약품 영양제 노트북 신발 운동화 카메라 휴대폰 핸드폰 스마트폰 시계 손목시계 가방 옷 티셔츠 의류
        모자 텀블러 컵 캔 병 통조림 소스 조미료 양념 제품 상품 물티슈 휴지 세제 이어폰 헤드폰 마우스 키보드 모니터
        컴퓨터 태블릿 가전제품 전자기기 전자제품 냉장고 세탁기 에어컨 프린터 담배 초콜릿 사탕 젤리 껌 요거트 주스 에너지
        드링크 식품 간식 스낵 시리얼 두유 볼펜 펜 박스 상자 봉지 쇼핑백 어댑터 충전기 향수 로션 크림 타이어 게임기
        스피커 라켓 유니폼 리모컨 텔레비전 티비 TV 선풍기 청소기 공기청정기 정수기 밥솥 전자레인지 드라이기 면도기 칫솔
        비누 선크림 마스크 마스크팩 립스틱 배터리 보조배터리 드론 프로젝터 그래픽카드 형광펜 노트 지갑 선글라스 안경
        의자 캐리어 우산 점퍼 패딩 후드티 양말 슬리퍼 운동복 티백 빵 케찹 고추장 간장 식용유 참기름 김 참치 햄 소시지
        두부 시리얼바 비스킷 쿠키 견과류 젤라또 껌통 이온음료 탄산수 위생용품 기저귀""",
    LOOKS="""자동차 차량 승용차 차 트럭 버스 오토바이 스쿠터 캐릭터 인형 피규어 동상 조각상 조각 탑 타워 다리 대교
        건축물 궁 궁궐 성당 성 사찰 절 산 섬 강 바다 호수 폭포 공원 동물 식물 꽃 나무 음식 요리 과일 채소 반찬 디저트 새
        강아지 고양이 개 물고기 곤충 품종 국기 깃발 유적 유적지 문화재 기념물 랜드마크 명소 로봇 마스코트 악기 가구
        장난감 그림 명화 만화 애니메이션 배우 가수 위인 장군 왕 해산물 생선 고기 재료 케이크 떡 국 찌개 버섯 스포츠 종목
        구조물 조형물 교량 SUV 세단 스포츠카 경차 바이크 승합차 화물차 택시 트랙터 굴착기 크레인 비행기 항공기 전투기
        헬리콥터 헬기 기차 열차 공룡 별자리 놀이 칵테일 파스타 피자 국수 면 초밥 회 치즈 나비 벌레 거미 잠자리 거북이 뱀
        오리 닭 소 양 돼지 곰 원숭이 곡식 곡물 약초 허브 풀 선인장 다육식물 구름 보석 암석 행성 도구 공구 무기 갑옷 한복
        무술 체조 춤 요가 게임판 성문 문루 석탑 불상 벽화 탈 동전 지폐 여신 괴물 해변 해수욕장 계곡 동굴 봉우리""",
    PROPERTY="""모양 형태 형상 재질 소재 상태 특징 특성 공통점 차이점 차이 분위기 느낌 계절 날씨 기후 시간대 때 자재
        원단 정도 용도 목적 기능 역할 행동 동작 활동 자세 포즈 표정 감정 기분 맛 스타일 양식 패턴 무늬 크기 높이 길이
        넓이 두께 나이 연령 연령대 성별 직업 신분 관계 상황 풍경 광경 모습 장면 테마 주제 컨셉 콘셉트 의미 뜻 상징 이유
        원인 방식 방법 구성 구조 배열 배치 순서 질감 밝기 조리법 시대 설명 묘사 사실 효과 성격 결과 과정 단계 문제점
        위험 수준 문화 복장 옷차림 헤어스타일 구도 디자인 형식 인상""",
    LOOK="모양 형태 형상 재질 소재 크기 높이 무늬",
    PLACE="장소 위치 곳 지역 공간 배경 방향 쪽 나라 국가 도시 지점 자리 방면 목적지 도착지 출발지 관광지 구역 동네",
    SPOT="장소 위치 곳 지역 자리 지점 방향 쪽",
    RELATION="""뒤편 앞편 칸 위 아래 앞 뒤 옆 왼쪽 오른쪽 사이 밑 위쪽 아래쪽 앞쪽 뒤쪽 옆쪽 좌측 우측 왼편 오른편 곁
        맞은편 건너편""",
    SIDE="""왼쪽 오른쪽 좌측 우측 왼 오른 왼손 오른손 왼발 오른발 왼편 오른편 좌우 좌회전 우회전 시계방향 반시계방향
        동쪽 서쪽 남쪽 북쪽 방향 방면 쪽 화살표 일방통행""",
    GOODS="제품 상품",
    HAND="왼쪽 오른쪽 좌측 우측 왼편 오른편",
    LIMB="손 발 팔 다리 어깨 귀 눈 무릎",
    TRANSPORT="버스 기차 열차 지하철 전철 배 여객선 유람선 비행기 항공편 항공기 고속버스 시내버스 케이블카 페리 셔틀",
    BUILDING="건물 빌딩 아파트 집 주택 탑 석탑 호텔 건축물 상가 타워 빌라 오피스텔 학교 케이크 계단",
    ARTWORK="명화 조각상 벽화",
    TITLE="제목 작품명",
    CLOCK="시계 시침 분침 초침 바늘 벽시계 시각",
    COLOR="색 색깔 색상 컬러 빛깔 바탕색 배경색 글자색 글씨색 머리색 털색 피부색 눈색",
    NUMBER="개수 갯수 수 인원 인원수 마리수 대수 층수 수량 명수",
    FLAVOUR="맛 향",
    INDIVIDUAL="강아지 고양이 개 아이 사람 학생 직원 선수 인물 주인공 남자 여자 아기 어린이",
    KIND="종류 종 품종 유형 장르 종목",
    THING="것 거 물건 물체 사물 물품",
    PERSON="사람 인물 남자 여자 아이 어린이 남성 여성 소년 소녀 아기 학생 선수 직원 손님",
)
KOREAN_VERBS = _classes(
    READ="""적히 적 새기 새겨지 표기 기재 기록 명시 안내 게시 각인 표시 써지 홍보 광고 공지 주최 주관 후원 협찬 발행
        발급""",
    MEAN="의미 뜻하 상징",
    SHOW="나타내 표현 가리키",
    FAMED="유명 대표 알려지",
    DO="하 행동 활동 취하 즐기",
    STAND="있 놓이 올리 걸리 앉 서 눕 위치 세우 설치 놓 담기 붙 매달리 주차 얹 꽂히 쌓이 두 자리 떨어지 깔리",
    CHOOSE="알맞 올바르 맞 적절 적합 옳 설명 해당 틀리 일치 잘못되 아니 다르",
    DESCRIBE="설명 묘사 서술 요약",
    ABSENT="없 않 못",
    FORBID="금지 허용 제한 요구 당부",
    PERMIT="버리 주차 출입 흡연 반입 입장 결제 신청 등록 예약 할인",
    SELL="판매 팔 취급",
    OBLIGE="어야 아야",
    PRINT="인쇄 프린트",
    DRAW="그리 그려지",
    MAKE="만들 만들어지 마감 제작 이루어지 포장 봉하",
    SEEN="보이",
    GO="가 향하 운행 도착 출발",
)
COUNTERS = frozenset(
    """명 개 마리 대 그루 송이 장 권 병 잔 층 줄 쌍 켤레 채 척 조각 가지 군데 사람 자루 벌 다발 인 봉지 접시 캔 박스 칸
    단 곳 종류 알 통 겹 바퀴 그릇 인분 종 층짜리""".split()
)
ENGLISH_WORDS = _classes(
    TEXT="""text word words letter letters sentence phrase writing inscription title slogan caption message headline
        digit digits characters numeral initials subtitle logo password""",
    VALUE="""number price cost amount date year time speed limit phone address score weight temperature discount email
        website url deadline version model author hours total gate floor content calories percentage capacity platform
        exit destination fare route size""",
    LETTERS="text word words letters sentence phrase inscription title slogan digit digits",
    BOARD="""license licence signboard billboard banner menu receipt ticket nameplate badge blackboard whiteboard
        scoreboard timetable""",
    SIGN="""sign signs signboard billboard poster banner menu receipt ticket label page book cover newspaper screen
        board blackboard whiteboard note nameplate badge sticker card envelope document monitor package bottle map
        timetable""",
    TRAFFICSIGN="sign signs signal symbol pictogram icon",
    NAME="name names called named title",
    BRAND="brand brands maker manufacturer company logo franchise airline sponsor bank",
    BUSINESS="""club school shop store restaurant cafe hotel station university hospital bank bakery pharmacy market bar
        pub airport stop company team book film movie event festival apartment library theatre theater church ship
        boat""",
    PRODUCT="""beer wine drink beverage soda snack cereal chips laptop phone smartphone camera shoes shoe sneakers watch
        bag shirt bottle can juice water milk coffee computer keyboard mouse tv television refrigerator product
        toothpaste medicine""",
    LOOKS="""car cars vehicle truck bus motorcycle motorbike scooter train tower bridge monument statue landmark palace
        castle temple cathedral mountain island river lake animal animals plant flower flowers tree food dish fruit
        vegetable suv sedan cartoon character dinosaur cocktail constellation pasta dessert cheese bread butterfly
        spider insects game dance bird dog cat fish insect flag painting instrument tool furniture toy sport person
        actor singer mascot building""",
    PROPERTY="""daytime shape form material texture state condition feature characteristic mood atmosphere season
        weather pattern size height length width age gender job occupation profession relationship situation purpose use
        function role action activity pose posture expression emotion feeling taste flavor flavour style theme meaning
        reason way method scene description statement difference similarity design clothing hairstyle doing happening
        wearing made feel look looks""",
    LOOK="shape form material size height",
    PLACE="place location position city country room area side direction street setting region spot corner",
    SPOT="place location position spot side direction room way",
    RELATION="left right above below under behind front beside between near next over beneath underneath top",
    SIDE="""left right leftmost rightmost left-hand right-hand clockwise counterclockwise anticlockwise east west north
        south direction side arrow facing""",
    LIMB="hand foot arm leg",
    TRANSPORT="bus train subway ferry ship boat plane flight tram",
    ARTWORK="painting sculpture artwork",
    TITLE="title",
    GOODS="product products",
    HAND="left right leftmost rightmost left-hand right-hand",
    CLOCK="clock o'clock hour minute",
    COLOR="color colour colors colours",
    NUMBER="count",
    FLAVOUR="flavor flavour taste",
    KIND="kind type sort species breed",
    THING="thing object item",
    PERSON="person man woman boy girl child people player men women kid baby",
    READ="""written read reads say says wrote addressed engraved handwritten spelled displayed labeled labelled stated
        advertised""",
    MEAN="mean means symbolize indicate indicates",
    SHOW="represent represents depict depicts",
    FAMED="famous well-known",
    DO="doing happening used",
    STAND="located placed standing sitting lying hanging parked positioned situated",
    CHOOSE="describes describe best true correct",
    DESCRIBE="describes describe summarizes",
    ABSENT="not no isn't doesn't cannot can't without absent missing",
    FORBID="prohibited forbidden allowed",
    PRINT="printed",
    DRAW="drawn",
    GO="go going headed heading bound depart departs leave leaves stop stopping",
    SELL="sell sells sold",
    OBLIGE="should must",
)


def _by_word(classes: Classes) -> Classes:
    found: dict[str, set[str]] = {}
    for name, words in classes.items():
        for word in words:
            found.setdefault(word, set()).add(name)
    return {word: frozenset(names) for word, names in found.items()}


_KOREAN_NOUNS, _KOREAN_VERBS, _ENGLISH_WORDS = map(_by_word, (KOREAN_NOUNS, KOREAN_VERBS, ENGLISH_WORDS))
KNOWN_NOUNS = frozenset(_KOREAN_NOUNS)
VERBAL = frozenset(KOREAN_VERBS)


@lru_cache(1 << 16)
def korean_noun(form: str) -> frozenset[str]:
    """Classes of a noun; a compound that is in none has those of its last part, which is its head in Korean."""
    if len(form) > 2 and form.endswith("명"):  # 회사명, 제품명: the name of a company, a product
        return NAME
    for start in (0, len(form) - 3, len(form) - 2):
        if 0 <= start < len(form) and form[start:] in _KOREAN_NOUNS:
            return _KOREAN_NOUNS[form[start:]]
    return OTHER


def korean_verb(form: str) -> frozenset[str]:
    """Classes of a verb's or adjective's stem, or of a noun that 하다 or 되다 turns into a verb."""
    return _KOREAN_VERBS.get(form, frozenset())


def english_word(word: str) -> frozenset[str]:
    """Classes of a lower-case word, including those of verbs (READ, MEAN, …)."""
    return _ENGLISH_WORDS.get(word) or _ENGLISH_WORDS.get(word.removesuffix("s"), OTHER)
